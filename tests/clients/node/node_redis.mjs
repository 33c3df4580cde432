// node-redis's part of the story that every client library is told: see ../main.rs.
//
//     node_redis.mjs single|cluster HOST:PORT…

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

import { failover, kill, told, until } from './story.mjs';

const require = createRequire(process.env.KVNODE_CLIENTS_NODE + '/');
const { createClient, createCluster, RESP_TYPES } = require('redis');

const { mode, addresses } = told();

async function connect(options = {}) {
  const client =
    mode === 'single'
      ? createClient({ socket: addresses[0], ...options })
      : createCluster({
          rootNodes: addresses.map((socket) => ({ socket })),
          defaults: options,
          // It asks for the leaders anew when it has tried so long to reach one; 5 s if not said.
          topologyRefreshOnReconnectionAttemptStrategy: 500,
        });
  // Without a listener a lost connection is an uncaught exception.
  client.on('error', () => {});
  await client.connect();
  return client;
}

/** A connection of its own to the node where the key is. */
async function alone(client, key) {
  const node = mode === 'single' ? client : await client.getNodeClientForKey(key);
  const own = node.duplicate();
  own.on('error', () => {});
  return own.connect();
}

async function basics(client) {
  const binary = Buffer.from(Array.from({ length: 256 }, (_, n) => n));
  const asBuffers = client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  assert.equal(await client.set('basics', binary), 'OK');
  assert.deepEqual(await asBuffers.get('basics'), binary);
  assert.equal(await client.get('nothing'), null);
  await client.del('float');
  assert.equal(Number(await client.incrByFloat('float', 1.5)), 1.5);
  assert.equal(await client.set('timed', 'v', { expiration: { type: 'PX', value: 100_000 } }), 'OK');
  const left = await client.pTTL('timed');
  assert(left > 0 && left <= 100_000, `${left}`);
  await assert.rejects(client.incr('basics'), /not an integer/);
}

async function pipeline(client) {
  // What is called without being awaited goes out together.
  const numbers = Array.from({ length: 200 }, (_, n) => n);
  const sets = numbers.map((n) => client.set(`pipe:${n}`, `${n}`));
  const gets = numbers.map((n) => client.get(`pipe:${n}`));
  assert.deepEqual(await Promise.all(sets), numbers.map(() => 'OK'));
  assert.deepEqual(await Promise.all(gets), numbers.map(String));
}

async function manyKeys(client) {
  const keys = Array.from({ length: 50 }, (_, n) => `{many}:${n}`);
  assert.equal(await client.mSet(keys.map((key, n) => [key, `${n}`])), 'OK');
  assert.deepEqual(await client.mGet(keys), keys.map((_, n) => `${n}`));
  assert.equal(await client.del(keys), 50);
  // Of any slots: split by slots in the library.
  const scattered = keys.map((_, n) => `many:${n}`);
  await Promise.all(scattered.map((key) => client.set(key, 'v')));
  assert.equal(await client.del(scattered), 50);
}

async function transaction(client) {
  const replies = await client.multi().set('{t}a', '1').incr('{t}a').mGet(['{t}a', '{t}b']).exec();
  assert.deepEqual(replies, ['OK', 2, ['2', null]]);
}

/** Four workers that each add 10 by GET and SET, which only WATCH makes right. */
async function watch(client) {
  const work = async () => {
    const own = await alone(client, 'watched');
    for (let done = 0; done < 10; ) {
      await own.watch('watched');
      const value = Number((await own.get('watched')) ?? 0);
      try {
        await own.multi().set('watched', `${value + 1}`).exec();
        done += 1;
      } catch (error) {
        assert.equal(error.constructor.name, 'WatchError');
      }
    }
    await own.close();
  };
  await Promise.all([work(), work(), work(), work()]);
  assert.equal(await client.get('watched'), '40');
}

async function lock(client) {
  const take = (token) =>
    client.set('lock', token, { condition: 'NX', expiration: { type: 'PX', value: 10_000 } });
  const release = (token) => {
    const command = ['DELIFEQ', 'lock', token];
    return mode === 'single' ? client.sendCommand(command) : client.sendCommand('lock', false, command);
  };
  assert.equal(await take('mine'), 'OK');
  assert.equal(await take('theirs'), null);
  assert.equal(await release('theirs'), 0);
  assert.equal(await release('mine'), 1);
  assert.equal(await take('theirs'), 'OK');
}

async function scan(client) {
  const wanted = Array.from({ length: 500 }, (_, n) => `scan:${n}`).sort();
  await Promise.all(wanted.map((key) => client.set(key, 'v')));
  const found = new Set();
  const nodes = mode === 'single' ? [client] : await Promise.all(client.masters.map((node) => client.nodeClient(node)));
  for (const node of nodes) {
    for await (const keys of node.scanIterator({ MATCH: 'scan:*', COUNT: 50 })) keys.forEach((key) => found.add(key));
  }
  assert.deepEqual([...found].sort(), wanted);
}

async function reconnect(client) {
  assert.equal(await client.incr('reconnect'), 1);
  await kill('');
  // A command that was under way when the connection broke fails; the next one waits for another.
  await until(() => 'the value', async () => (await client.get('reconnect').catch(() => null)) === '1');
}

for (const RESP of [2, 3]) {
  const client = await connect({ RESP });
  await basics(client);
  await pipeline(client);
  await manyKeys(client);
  await client.close();
}
const client = await connect();
await transaction(client);
await watch(client);
await lock(client);
await scan(client);
if (mode === 'single') {
  await reconnect(client);
} else {
  await failover({
    incr: (key) => client.incr(key),
    set: (key, value) => client.set(key, value),
    get: (key) => client.get(key),
  });
}
client.destroy();
process.exit(0);
