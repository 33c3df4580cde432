//! Who may link with whom, and what each side is told when it may not.

use kvnode_core::peer::{
    Identity, Input, LinkState, Message, RefusalKind, Refused, Settings, Versions,
};
use kvnode_core::{ClusterId, DirectoryId, NodeId};

use crate::bench::{A1, A2, A3, Bench, D1, D2, hello, identity, link, welcome};

fn cluster(id: u128) -> Option<ClusterId> {
    Some(ClusterId(id << 64))
}

fn of_cluster(id: u32, nonce: u64, of: u128) -> Identity {
    Identity { cluster: cluster(of), ..identity(id, nonce) }
}

/// What n1, as `me`, tells `from`, which has dialled `dialled`.
fn told(me: Identity, from: &Identity, dialled: u32) -> String {
    let mut bench = Bench::with(me, Settings::default());
    bench.input(Input::Accepted(A1));
    let effects = bench.bytes(A1, link(Message::Hello(hello(from, dialled))));
    let [notice, refused, close] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(close, "close a1");
    let text = refused.strip_prefix("write a1 Refused: ").unwrap();
    let from = from.member.node;
    assert_eq!(notice, &format!("Warn: refused a link from {from}: {text}"), "the same words");
    text.to_owned()
}

#[test]
fn a_node_of_another_cluster_is_refused() {
    assert_eq!(
        told(of_cluster(1, 11, 5), &of_cluster(2, 22, 6), 1),
        "n2 belongs to cluster 00000000000000060000000000000000 and n1 to cluster \
         00000000000000050000000000000000: correct the addresses of the peers, or have one of the \
         two join the other's cluster with an empty data directory"
    );
}

#[test]
fn a_node_without_a_cluster_links_with_one_that_has_one_and_the_other_way_round() {
    for (me, from) in [
        (of_cluster(1, 11, 5), identity(2, 22)),
        (identity(1, 11), of_cluster(2, 22, 5)),
        (of_cluster(1, 11, 5), of_cluster(2, 22, 5)),
    ] {
        // Settings of founding do not matter any more.
        let from = Identity { founding: 1, ..from };
        let mut bench = Bench::with(me.clone(), Settings::default());
        assert_eq!(bench.accept(A1, &from), ["write a1 Welcome from n1"]);
        bench.greet();
        let up = bench.bytes(D1, link(Message::Welcome(welcome(&from))));
        assert_eq!(up[0], "up n2/0002 22");
        assert_eq!(bench.links.status().next().unwrap().peer.unwrap().cluster, from.cluster);
    }
}

#[test]
fn nodes_that_would_found_different_clusters_are_told_so() {
    let from = Identity { founding: 0xabc, ..identity(2, 22) };
    assert_eq!(
        told(identity(1, 11), &from, 1),
        "n2 and n1 would found different clusters (settings 0000000000000abc and \
         00000000000000f0): start every founding node with the same peers and the same settings of \
         the cluster"
    );
}

#[test]
fn a_node_that_was_taken_for_another_says_who_it_is() {
    assert_eq!(
        told(identity(1, 11), &identity(2, 22), 3),
        "n2 dialled n3 and reached n1: correct the address that n2 has for n3, or the id of the \
         node that listens there"
    );
}

#[test]
fn a_process_that_has_dialled_itself_is_told_so() {
    assert_eq!(
        told(identity(1, 11), &identity(1, 11), 2),
        "n1 dialled n2 and reached itself: the address that n1 has for n2 is its own; correct it"
    );
}

#[test]
fn a_second_process_with_my_id_is_refused() {
    let mut from = identity(1, 12);
    assert_eq!(
        told(identity(1, 11), &from, 1),
        "two processes run as n1, both with data directory 00010000000000000000000000000000, so \
         one has a copy of it: stop that one, and start it again with an id and an empty directory \
         of its own"
    );
    from.member.directory = DirectoryId(7);
    assert_eq!(
        told(identity(1, 11), &from, 1),
        "two processes run as n1, with data directories 00000000000000000000000000000007 and \
         00010000000000000000000000000000: stop one of them, or give it an id of its own"
    );
}

#[test]
fn a_second_process_is_refused_while_the_first_is_heard_of() {
    let mut bench = Bench::new();
    let (one, mut two) = (identity(2, 22), identity(2, 23));
    two.member.directory = DirectoryId(9 << 112);
    bench.accept(A1, &one);
    bench.pass(400);
    let effects = bench.accept(A2, &two);
    assert!(effects[1].starts_with(
        "write a2 Refused: two processes run as n2, with data directories \
         00020000000000000000000000000000 and 00090000000000000000000000000000"
    ));
    assert_eq!(effects.last().unwrap(), "close a2");
    // The first may reconnect meanwhile.
    assert_eq!(bench.accept(A3, &one), ["close a1", "write a3 Welcome from n1"]);
}

#[test]
fn a_process_takes_the_place_of_one_that_is_not_heard_of_any_more() {
    let mut bench = Bench::new();
    bench.accept(A1, &identity(2, 22));
    bench.pass(500);
    let effects = bench.accept(A2, &identity(2, 23));
    assert_eq!(effects, ["close a1", "write a2 Welcome from n1"]);
    // Or at once, where its connection is seen to end.
    bench.input(Input::Closed(A2));
    assert_eq!(bench.accept(A3, &identity(2, 24)), ["write a3 Welcome from n1"]);
}

#[test]
fn a_node_that_is_no_peer_is_refused_until_it_is_added() {
    assert_eq!(
        told(identity(1, 11), &identity(4, 44), 1),
        "n1 does not have n4 among its peers: add n4 to the cluster, or to the peers that n1 is \
         started with"
    );
    let mut bench = Bench::new();
    bench.links.add_peer(bench.now, NodeId(4), "e:7".into());
    assert_eq!(bench.accept(A1, &identity(4, 44)), ["write a1 Welcome from n1"]);
}

#[test]
fn the_newest_common_version_is_chosen_and_none_is_refused() {
    let me = Identity { versions: Versions { min: 2, max: 4 }, ..identity(1, 11) };
    let from = Identity { versions: Versions { min: 5, max: 5 }, ..identity(2, 22) };
    assert_eq!(
        told(me.clone(), &from, 1),
        "n2 speaks version 5 of the peer protocol and n1 versions 2 to 4: update the older of the \
         two to a release that speaks a version of the other"
    );
    assert_eq!(me.versions.common(Versions { min: 1, max: 3 }), Some(3));
    assert_eq!(me.versions.common(Versions { min: 3, max: 9 }), Some(4));
    assert_eq!(me.versions.common(Versions { min: 1, max: 1 }), None);
}

#[test]
fn a_refused_dialler_tells_why_once_and_tries_again_slowly() {
    let mut bench = Bench::new();
    bench.greet();
    let refused = |text: &str| link(Message::Refused(Refused { code: 6, text: text.into() }));
    assert_eq!(
        bench.bytes(D1, refused("not\nlisted")),
        ["close d1", "Warn: no link to n2 at b:7: not listed", "rejected n2 NotListed"]
    );
    let state = bench.links.status().next().unwrap().state;
    assert_eq!(state, LinkState::Refused(RefusalKind::NotListed));
    let (wait, reason) = bench.deadline();
    assert!((2_000..=4_000).contains(&wait) && reason == "Dial", "{wait} {reason}");
    assert_eq!(bench.tick(), ["dial d2 n2 at b:7"]);
    bench.input(Input::Dialled(D2));
    assert_eq!(
        bench.bytes(D2, refused("not\nlisted")),
        ["close d2", "rejected n2 NotListed"],
        "told already"
    );
    bench.tick();
    let d3 = kvnode_core::peer::ConnId::Dialled(3);
    bench.input(Input::Dialled(d3));
    assert_eq!(bench.bytes(d3, refused("other")).len(), 3, "another reason is told");
}

#[test]
fn an_acceptor_tells_of_a_refusal_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.accept(A1, &identity(4, 44)).len(), 3);
    let again = bench.accept(A2, &identity(4, 44));
    assert!(again[0].starts_with("write a2 Refused") && again.len() == 2, "{again:?}");
}

#[test]
fn a_dialler_does_not_take_a_welcome_of_the_wrong_node_or_cluster_or_version() {
    let cases = [
        (identity(3, 33), 1, "n1 dialled n2 and reached n3"),
        (of_cluster(2, 22, 6), 1, "n1 belongs to cluster"),
        (identity(2, 22), 2, "n1 speaks version 1 of the peer protocol and n2 version 2"),
    ];
    for (from, version, told) in cases {
        let mut bench = Bench::with(of_cluster(1, 11, 5), Settings::default());
        bench.greet();
        let mut welcome = welcome(&from);
        welcome.version = version;
        let effects = bench.bytes(D1, link(Message::Welcome(welcome)));
        let expected = format!("Warn: no link to n2 at b:7: {told}");
        assert_eq!(effects[0], "close d1");
        assert!(effects[1].starts_with(&expected), "{effects:?}");
    }
}

#[test]
fn a_cluster_that_becomes_known_drops_the_peers_of_others() {
    let mut bench = Bench::new();
    bench.greet();
    bench.bytes(D1, link(Message::Welcome(welcome(&of_cluster(2, 22, 6)))));
    bench.accept(A1, &of_cluster(2, 22, 6));
    bench.links.set_cluster(bench.now, ClusterId(5 << 64));
    let dropped = [
        "close d1",
        "down n2/0002 ended here, to be made anew if it is still wanted",
        "Info: the link to n2 is down: ended here, to be made anew if it is still wanted",
    ];
    let effects = bench.effects();
    assert_eq!(effects[..3], dropped);
    assert_eq!(effects[3..], ["close a1"]);
    // And it is told to peers from now on.
    assert_eq!(bench.links.me().cluster, cluster(5));
}

#[test]
fn a_cluster_that_becomes_known_has_the_peers_of_none_say_again_whose_they_are() {
    let mut bench = Bench::up();
    bench.accept(A1, &identity(2, 22));
    bench.links.set_cluster(bench.now, ClusterId(5));
    let effects = bench.effects();
    assert!(effects.contains(&"close d1".to_owned()), "{effects:?}");
    assert!(effects.contains(&"close a1".to_owned()), "{effects:?}");
}

#[test]
fn who_does_not_speak_the_protocol_is_told_of_once_and_dialled_slowly() {
    let mut bench = Bench::new();
    bench.greet();
    assert_eq!(
        bench.bytes(D1, b"-ERR unknown command\r\n".as_slice()),
        [
            "close d1",
            "Warn: n2 at b:7 answers a frame of impossible length 1381123373: check that this is \
             its address for peers, not the one for clients"
        ]
    );
    assert!(bench.deadline().0 >= 2_000);
    bench.input(Input::Accepted(A1));
    assert_eq!(
        bench.bytes(A1, b"*1\r\n$4\r\nPING\r\n".as_slice()),
        [
            "Warn: closed a connection to the address for peers, which sent a frame of impossible \
             length 168636714: clients are served at the other address",
            "close a1"
        ]
    );
    bench.input(Input::Accepted(A2));
    assert_eq!(bench.bytes(A2, b"GET / HTTP/1.1\r\n".as_slice()), ["close a2"], "told already");
}

#[test]
fn a_hello_with_another_magic_is_no_hello() {
    let mut bench = Bench::new();
    let mut other = hello(&identity(2, 22), 1);
    other.magic = *b"kvnode??";
    bench.input(Input::Accepted(A1));
    let effects = bench.bytes(A1, link(Message::Hello(other)));
    assert_eq!(effects[1], "close a1");
}

#[test]
fn who_welcomes_before_the_hello_has_left_harms_nobody() {
    let mut bench = Bench::new();
    bench.input(Input::Tick);
    bench.input(Input::Dialled(D1));
    let effects = bench.bytes(D1, link(Message::Welcome(welcome(&identity(2, 22)))));
    assert!(effects.iter().any(|effect| effect.contains("linked to n2")), "{effects:?}");
    let hello = link(Message::Hello(hello(bench.links.me(), 2))).len();
    bench.input(Input::Sent(D1, hello - 1));
    assert_eq!(bench.links.status().next().unwrap().waiting.frames, 1, "the Hello");
    bench.input(Input::Sent(D1, 1));
    assert_eq!(bench.links.status().next().unwrap().waiting.frames, 0);
}

#[test]
fn messages_out_of_place_end_the_connection() {
    let mut bench = Bench::new();
    bench.accept(A1, &identity(2, 22));
    let again = link(Message::Hello(hello(&identity(2, 22), 1)));
    assert_eq!(
        bench.bytes(A1, again),
        ["Warn: closed the connection from n2, which sent a Hello out of place", "close a1"]
    );
    let mut bench = Bench::up();
    assert_eq!(
        bench.bytes(D1, link(Message::Ping(1))),
        [
            "close d1",
            "down n2/0002 corrupt",
            "Warn: the link to n2 is down: corrupt (a Ping out of place)"
        ]
    );
}
