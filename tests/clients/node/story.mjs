// What the scripts of both libraries share: the way to the test that runs them, and patience.

import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';

const PATIENCE_MS = 20_000;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** `single|cluster HOST:PORT…` of the command line. */
export function told() {
  const [mode, ...addresses] = process.argv.slice(2);
  const address = (text) => {
    const [host, port] = text.split(':');
    return { host, port: Number(port) };
  };
  return { mode, addresses: addresses.map(address) };
}

/** Has the test kill the leader of a key, or the only node, which it starts again. */
export async function kill(key) {
  process.stdout.write(`kill ${key}\n`);
  assert.equal((await lines.next()).value, 'killed');
}

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export async function until(what, so) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!(await so())) {
    assert(Date.now() < deadline, `not in ${PATIENCE_MS} ms: ${what()}`);
    await pause(10);
  }
}

/**
 * What was acknowledged before, while and after a leader is killed is there in the end. `incr`,
 * `set` and `get` are the client's, by key.
 */
export async function failover({ incr, set, get }) {
  const acknowledged = [];
  const failed = [];
  let stop = false;
  const write = async () => {
    for (let n = 1; !stop; n++) {
      try {
        // A key of the leader that is killed, and one of any.
        await incr('counter');
        await set(`failover:${n}`, `${n}`);
        acknowledged.push(n);
      } catch (error) {
        failed.push(error);
        await pause(10);
      }
    }
  };
  const waitFor = (count) =>
    until(() => `${acknowledged.length} of ${count}, ${failed.slice(-3)}`, () => acknowledged.length >= count);
  const writer = write();
  try {
    await waitFor(100);
    await kill('counter');
    await waitFor(acknowledged.length + 100);
  } finally {
    stop = true;
    await writer;
  }
  assert(Number(await get('counter')) >= acknowledged.length);
  const lost = [];
  for (const n of acknowledged) if ((await get(`failover:${n}`)) !== `${n}`) lost.push(n);
  assert.deepEqual(lost, []);
  console.error(`${acknowledged.length} writes acknowledged, ${failed.length} errors`);
}
