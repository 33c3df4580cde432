// ioredis's part of the story that every client library is told: see ../main.rs.
//
//     ioredis.mjs single|cluster HOST:PORT…

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

import { failover, kill, told, until } from './story.mjs';

const require = createRequire(process.env.KVNODE_CLIENTS_NODE + '/');
const { Cluster, Redis } = require('ioredis');

const { mode, addresses } = told();

function connect(options = {}) {
  const client =
    mode === 'single'
      ? new Redis({ ...addresses[0], ...options })
      : new Cluster(addresses, { redisOptions: options });
  // Without a listener it logs every lost connection.
  client.on('error', () => {});
  return client;
}

async function basics(client) {
  const binary = Buffer.from(Array.from({ length: 256 }, (_, n) => n));
  assert.equal(await client.set('basics', binary), 'OK');
  assert.deepEqual(await client.getBuffer('basics'), binary);
  assert.equal(await client.get('nothing'), null);
  await client.del('float');
  assert.equal(Number(await client.incrbyfloat('float', 1.5)), 1.5);
  assert.equal(await client.set('timed', 'v', 'PX', 100_000), 'OK');
  const left = await client.pttl('timed');
  assert(left > 0 && left <= 100_000, `${left}`);
  await assert.rejects(client.incr('basics'), /not an integer/);
}

async function pipeline(client) {
  // A pipeline of its cluster client goes to one node: one slot.
  const numbers = Array.from({ length: 200 }, (_, n) => n);
  const pipe = client.pipeline();
  for (const n of numbers) pipe.set(`{pipe}:${n}`, `${n}`);
  for (const n of numbers) pipe.get(`{pipe}:${n}`);
  const replies = await pipe.exec();
  assert.deepEqual(replies, [...numbers.map(() => [null, 'OK']), ...numbers.map((n) => [null, `${n}`])]);
}

async function manyKeys(client) {
  const keys = Array.from({ length: 50 }, (_, n) => `{many}:${n}`);
  assert.equal(await client.mset(keys.flatMap((key, n) => [key, `${n}`])), 'OK');
  assert.deepEqual(await client.mget(keys), keys.map((_, n) => `${n}`));
  assert.equal(await client.del(keys), 50);
}

async function transaction(client) {
  const replies = await client.multi().set('{t}a', 1).incr('{t}a').mget('{t}a', '{t}b').exec();
  assert.deepEqual(replies, [[null, 'OK'], [null, 2], [null, ['2', null]]]);
}

/** Four workers that each add 10 by GET and SET, which only WATCH makes right. */
async function watch(client) {
  const work = async () => {
    // What is watched belongs to the connection, so each has its own.
    const own = connect();
    for (let done = 0; done < 10; ) {
      await own.watch('watched');
      const value = Number((await own.get('watched')) ?? 0);
      if ((await own.multi().set('watched', value + 1).exec()) !== null) done += 1;
    }
    own.disconnect();
  };
  await Promise.all([work(), work(), work(), work()]);
  assert.equal(await client.get('watched'), '40');
}

async function lock(client) {
  assert.equal(await client.set('lock', 'mine', 'PX', 10_000, 'NX'), 'OK');
  assert.equal(await client.set('lock', 'theirs', 'PX', 10_000, 'NX'), null);
  // It knows no key of a command that is not in its tables, and asks any node.
  assert.equal(await client.call('DELIFEQ', 'lock', 'theirs'), 0);
  assert.equal(await client.call('DELIFEQ', 'lock', 'mine'), 1);
  assert.equal(await client.set('lock', 'theirs', 'PX', 10_000, 'NX'), 'OK');
}

async function scan(client) {
  const wanted = Array.from({ length: 500 }, (_, n) => `scan:${n}`).sort();
  await Promise.all(wanted.map((key) => client.set(key, 'v')));
  const found = new Set();
  for (const node of mode === 'single' ? [client] : client.nodes('master')) {
    for await (const keys of node.scanStream({ match: 'scan:*', count: 50 })) keys.forEach((key) => found.add(key));
  }
  assert.deepEqual([...found].sort(), wanted);
}

async function reconnect(client) {
  assert.equal(await client.incr('reconnect'), 1);
  await kill('');
  await until(() => 'the value', async () => (await client.get('reconnect').catch(() => null)) === '1');
}

for (const protocol of [2, 3]) {
  const client = connect({ protocol });
  await basics(client);
  await pipeline(client);
  await manyKeys(client);
  client.disconnect();
}
const client = connect();
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
client.disconnect();
process.exit(0);
