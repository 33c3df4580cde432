//! Every limit of the core, with the relations between them checked at compile time.

/// Longest key, in bytes. Two bytes hold it in a record's header.
pub const KEY_BYTES_MAX: usize = 65_535;

/// Longest value, in bytes; Redis calls it `proto-max-bulk-len`.
pub const VALUE_BYTES_MAX: usize = 64 << 20;

/// Longest argument of a command, in bytes: a value, or what DUMP makes of the longest. Where it is to
/// be a value, it is refused by the command, and the connection stays.
pub const ARGUMENT_BYTES_MAX: usize = VALUE_BYTES_MAX + (1 << 10);

/// Most arguments of one command, its name included.
pub const ARGS_MAX: usize = 1 << 20;

/// Most bytes of one command as the parser gathers it, and of all commands queued in one MULTI.
pub const COMMAND_BYTES_MAX: usize = 256 << 20;

/// Most bytes of records in one atomic batch.
pub const BATCH_BYTES_MAX: usize = 512 << 20;

/// Longest inline command, in bytes (Redis: 64 KiB).
pub const INLINE_BYTES_MAX: usize = 64 << 10;

/// Commands queued in one MULTI.
pub const MULTI_COMMANDS_MAX: usize = 1 << 20;

/// Keys one client may watch.
pub const WATCHED_KEYS_MAX: usize = 1 << 16;

/// Bytes of the keys that one client may watch.
pub const WATCHED_BYTES_MAX: usize = 16 << 20;

/// Replies of one client that may wait for a commit before the shard takes no further command
/// from it.
pub const CLIENT_REPLIES_MAX: usize = 4_096;

/// Bytes of values in replies that the driver has not taken yet before the shard takes no further
/// command from any client: a client that asks for much in one breath is served in turns.
pub const REPLY_BYTES_MAX: usize = 16 << 20;

/// Bytes of records that may wait for the disk in one partition before the shard takes no further
/// command from any client.
pub const PARTITION_GATHER_BYTES_MAX: usize = 64 << 20;

/// Bytes of records of one partition that may be logged and not committed before the shard takes no
/// further command from any client. A follower takes as much beyond the longest batch.
pub const PARTITION_TAIL_BYTES_MAX: usize = 256 << 20;

/// Bytes of the last writes of one partition that are kept in memory for followers. The write in
/// flight may go over it.
pub const REPLICATION_RING_BYTES: usize = 16 << 20;

/// Bytes that are looked through for the beginning of a piece of the log in memory, about.
pub const REPLICATION_PIECE_BYTES: usize = 256 << 10;

/// Most bytes of writes that are put together for a follower that has fallen behind with them.
pub const REPLICATION_JOIN_BYTES: usize = 64 << 10;

/// Readings of one partition's log on disk, for followers, that are under way at a time. Beyond, the
/// owner is told to try again.
pub const LOG_READERS_MAX: usize = 16;

/// Memory of one partition's index at which writes are refused. The arena's address space (16 GiB)
/// ends a good deal above, so that what is logged already always fits.
pub const KEYDIR_BYTES_MAX: usize = 14 << 30;

/// Bytes of keys of one partition that are remembered as gone since a range of its log was lost.
pub const GONE_BYTES_MAX: usize = 16 << 20;

/// Reigns of one partition that a replica remembers. A follower whose log ends in an older one begins
/// from zero.
pub const EPOCHS_MAX: usize = 1_024;

/// Users that the ACL has.
pub const ACL_USERS_MAX: usize = 1_024;

/// Longest name of a user, in bytes.
pub const ACL_NAME_BYTES_MAX: usize = 256;

/// Passwords of one user.
pub const ACL_PASSWORDS_MAX: usize = 64;

/// Selectors of one user beside its own.
pub const ACL_SELECTORS_MAX: usize = 64;

/// Rules on commands of one selector, and patterns of keys.
pub const ACL_RULES_MAX: usize = 512;
/// See above.
pub const ACL_PATTERNS_MAX: usize = 512;

/// Longest pattern of keys, in bytes.
pub const ACL_PATTERN_BYTES_MAX: usize = 1_024;

/// Longest ACL file, in bytes.
pub const ACL_FILE_BYTES_MAX: usize = 4 << 20;

/// Entries of ACL LOG (Redis: `acllog-max-len`).
pub const ACL_LOG_MAX: usize = 128;

/// Entries of the slow log.
pub const SLOWLOG_ENTRIES_MAX: usize = 1 << 16;

/// Clients that are shown the commands of all at a time.
pub const MONITORS_MAX: usize = 16;

/// Most partitions of one node.
pub const PARTITIONS_MAX: u32 = 1_024;

/// Segment size at which the log rolls, in bytes. A record longer than this gets a segment of its
/// own.
pub const SEGMENT_BYTES: u64 = 128 << 20;

/// Numbers of segments of one partition, of the 16 million there are, that are left for what has
/// been logged and for openings when nothing more is taken: after 2 PiB of segments of 128 MiB.
pub const SEGMENT_IDS_KEPT: u32 = 1 << 16;

/// Segments that one merge takes in. Each costs two deletions at its end, all handed to the disk at
/// once.
pub const MERGE_SEGMENTS_MAX: usize = 32;

/// Most voters of the controller quorum. Five is the most that is of use; the rest is room for a
/// change one by one.
pub const VOTERS_MAX: usize = 9;

/// Members of the controller quorum's log that a node keeps links to: voters and observers.
pub const LINKED_MAX: usize = 1_024;

/// Longest command of the controller quorum's log, in bytes.
pub const PROPOSAL_BYTES_MAX: usize = 1 << 20;

/// Entries of the controller quorum's log that may be proposed and not committed before its leader
/// refuses more.
pub const UNCOMMITTED_ENTRIES_MAX: u64 = 4_096;

/// Bytes of the same.
pub const UNCOMMITTED_BYTES_MAX: usize = 16 << 20;

/// Entries of the controller quorum's log beyond its base at which the leader refuses more: its
/// owner has not compacted it.
pub const LOG_ENTRIES_MAX: u64 = 1 << 20;

/// Entries in one append message.
pub const APPEND_ENTRIES_MAX: usize = 1_024;

/// Bytes of entries at which an append message is full. One entry may go over it.
pub const APPEND_BYTES_MAX: usize = 1 << 20;

/// Append messages to one member that may be unanswered.
pub const INFLIGHT_MAX: usize = 16;

/// Bytes of entries in append messages to one member that may be unanswered before no more are
/// sent. The last message may go over it.
pub const INFLIGHT_BYTES_MAX: usize = 4 << 20;

/// Largest snapshot of the controller quorum's state, in bytes.
pub const SNAPSHOT_BYTES_MAX: u64 = 64 << 20;

/// Bytes of a snapshot in one message.
pub const SNAPSHOT_CHUNK_BYTES: usize = 256 << 10;

/// Entries that the controller quorum's log keeps behind its snapshot, for members that lag.
pub const LOG_TAIL_ENTRIES: u64 = 1_024;

/// Entries that an observer may lag behind when it is made a voter.
pub const PROMOTION_LAG_MAX: u64 = 64;

/// Answers of the controller quorum that may wait for a term or a vote to be durable. What is above
/// is dropped: to the one who asked it is a lost message.
pub const HELD_ANSWERS_MAX: usize = 64;

/// Largest term and log index that is believed.
pub const ORDINAL_MAX: u64 = 1 << 60;
/// Most nodes that a cluster has registered.
pub const NODES_MAX: usize = 64;
/// Most replicas of one partition.
pub const REPLICAS_MAX: usize = 7;
/// Longest address of a node, `host:port`, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 255;
/// Longest name of a rack, in bytes.
pub const RACK_BYTES_MAX: usize = 64;
/// Longest name of a node's version, in bytes.
pub const VERSION_BYTES_MAX: usize = 64;
/// Commands that a controller has proposed and that are not applied yet. Beyond, it waits.
pub const PROPOSALS_MAX: usize = 4_096;
/// Requests of operators that one controller works on at a time. Beyond, they are refused.
pub const OPERATOR_REQUESTS_MAX: usize = 64;
/// Most peers of one node.
pub const PEERS_MAX: usize = 128;
/// Longest message of a peer link's own: handshake, ping. All that a stranger may send.
pub const PEER_LINK_BYTES_MAX: usize = 4 << 10;
/// Longest control message between two nodes, in bytes.
pub const PEER_CONTROL_BYTES_MAX: usize = 4 << 20;
/// Longest piece of a log that goes to a follower in one frame, in bytes. The longest record fits.
pub const PEER_DATA_BYTES_MAX: usize = VALUE_BYTES_MAX + (1 << 20);
/// Longest piece of a forwarded command or of its reply in one frame, in bytes.
pub const PEER_FORWARD_BYTES_MAX: usize = VALUE_BYTES_MAX + (1 << 20);
/// Most bytes of records in one atomic batch of a replicated partition: it goes to followers in one
/// frame.
pub const REPLICATED_BATCH_BYTES_MAX: usize = VALUE_BYTES_MAX + (1 << 19);
/// Bytes of control frames beyond which no more waits to be sent to one peer.
pub const PEER_CONTROL_QUEUE_BYTES_MAX: usize = 8 << 20;
/// Control frames that may wait to be sent to one peer.
pub const PEER_CONTROL_QUEUE_FRAMES_MAX: usize = 1 << 10;
/// Bytes of records, and of clients' commands, beyond which no more waits to be sent to one peer.
pub const PEER_BULK_QUEUE_BYTES_MAX: usize = 16 << 20;
/// Other frames that may wait to be sent to one peer.
pub const PEER_BULK_QUEUE_FRAMES_MAX: usize = 1 << 14;
/// Bytes of forwarded commands and answers that wait for the link to one peer, above which nothing
/// more is asked of it or evaluated for it.
pub const FORWARD_BACKLOG_BYTES_MAX: usize = 8 << 20;
/// Bytes of commands that one peer was asked to evaluate and has not answered, above which it is asked
/// nothing more.
pub const FORWARD_ASKED_BYTES_MAX: usize = 64 << 20;
/// Connections from peers that have not said who they are. One more ends the oldest of them.
pub const PEER_STRANGERS_MAX: usize = 64;

const _: () = assert!(KEY_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(ARGUMENT_BYTES_MAX + KEY_BYTES_MAX < COMMAND_BYTES_MAX);
const _: () = assert!(ARGUMENT_BYTES_MAX + KEY_BYTES_MAX < PEER_FORWARD_BYTES_MAX);
const _: () = assert!(COMMAND_BYTES_MAX < BATCH_BYTES_MAX);
const _: () = assert!(KEY_BYTES_MAX < GONE_BYTES_MAX / 16);
const _: () = assert!(INLINE_BYTES_MAX < COMMAND_BYTES_MAX);
const _: () = assert!(PARTITION_GATHER_BYTES_MAX < PARTITION_TAIL_BYTES_MAX);
const _: () = assert!(REPLICATION_PIECE_BYTES < REPLICATION_RING_BYTES);
const _: () = assert!(REPLICAS_MAX <= LOG_READERS_MAX);
// A batch is never split over segments, and a place in a segment is four bytes.
const _: () = assert!(SEGMENT_BYTES + (BATCH_BYTES_MAX as u64) < u32::MAX as u64);
// So long may the output of a merge become.
const _: () = assert!(3 * SEGMENT_BYTES < u32::MAX as u64);
const _: () = assert!(KEYDIR_BYTES_MAX + 16 * PARTITION_GATHER_BYTES_MAX < 16 << 30);
const _: () = assert!(PROPOSAL_BYTES_MAX <= APPEND_BYTES_MAX);
const _: () = assert!(APPEND_BYTES_MAX <= INFLIGHT_BYTES_MAX);
const _: () = assert!(PROPOSAL_BYTES_MAX <= UNCOMMITTED_BYTES_MAX);
const _: () = assert!(SNAPSHOT_CHUNK_BYTES as u64 <= SNAPSHOT_BYTES_MAX);
const _: () = assert!(UNCOMMITTED_ENTRIES_MAX + LOG_TAIL_ENTRIES < LOG_ENTRIES_MAX);
const _: () = assert!(PROMOTION_LAG_MAX < UNCOMMITTED_ENTRIES_MAX);
const _: () = assert!(VOTERS_MAX <= LINKED_MAX);
const _: () = assert!(PARTITIONS_MAX <= crate::slot::SLOTS);
const _: () = assert!(REPLICAS_MAX <= NODES_MAX);
// An election of every partition and a word for every node fit in.
const _: () = assert!(PARTITIONS_MAX as usize + 2 * NODES_MAX < PROPOSALS_MAX / 2);
const _: () = assert!(PEER_LINK_BYTES_MAX < PEER_CONTROL_BYTES_MAX);
const _: () = assert!(KEY_BYTES_MAX + VALUE_BYTES_MAX + 48 < PEER_DATA_BYTES_MAX);
// A long control message must not shut out the heartbeats.
const _: () = assert!(2 * PEER_CONTROL_BYTES_MAX <= PEER_CONTROL_QUEUE_BYTES_MAX);
const _: () = assert!(PEER_DATA_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(REPLICATED_BATCH_BYTES_MAX < PEER_DATA_BYTES_MAX - (1 << 10));
const _: () = assert!(KEY_BYTES_MAX + VALUE_BYTES_MAX + 48 < REPLICATED_BATCH_BYTES_MAX);
const _: () = assert!(PEER_FORWARD_BYTES_MAX < u32::MAX as usize);
