// sockjs-client, alone and under centrifuge-js: `node sockjs.mjs NAME RECEIVER`.

import assert from 'node:assert/strict';
import net from 'node:net';
import SockJS from 'sockjs-client';
import { Centrifuge, api, data, once, subscribed, token, until } from './harness.mjs';

const { URL_SOCKJS } = process.env;
const [, , name, receiver] = process.argv;
const server = new URL(URL_SOCKJS);
const odd = { text: 'ü \u2028\u200d\ufeff \u0000\n"\\ </script> 100%25 \u{1f600}' };

/** A TCP gate before the server: breaks what is open, and lets nobody in while it is shut. */
async function gate() {
  const wires = new Set();
  const made = { open: true };
  const listener = net.createServer((client) => {
    if (!made.open) return void client.destroy();
    const back = net.connect(server.port, server.hostname);
    for (const [wire, other] of [[client, back], [back, client]]) {
      wires.add(wire);
      wire.pipe(other);
      wire.on('error', () => {});
      wire.on('close', () => { wires.delete(wire); other.destroy(); });
    }
  });
  await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
  made.url = `http://127.0.0.1:${listener.address().port}${server.pathname}`;
  made.shut = () => { made.open = false; for (const wire of wires) wire.destroy(); };
  made.reopen = () => { made.open = true; };
  return made;
}

function socket(url) {
  const made = new SockJS(url, null, { transports: receiver });
  made.seen = [];
  made.onmessage = (event) => made.seen.push(...event.data.split('\n').map((l) => JSON.parse(l)));
  made.onclose = (event) => { made.end = event; };
  return made;
}

const scenarios = {
  async frames(me) {
    const s = socket(URL_SOCKJS);
    await new Promise((resolve) => { s.onopen = resolve; });
    assert.equal(s.transport, receiver);
    s.send(JSON.stringify({ id: 1, connect: { token: token(me) } }));
    await until(() => s.seen.length === 1, 'the connect reply');
    assert.ok(s.seen[0].connect.client);
    for (const key of ['session', 'node']) assert.ok(!(key in s.seen[0].connect));
    // Several messages at a time, which senders over HTTP put into one request.
    const channels = Array.from({ length: 15 }, (_, i) => `chat:${me}-${i}`);
    channels.forEach((channel, i) => s.send(JSON.stringify({ id: 2 + i, subscribe: { channel } })));
    const count = (key) => s.seen.filter((r) => r[key] || r.push?.[key]).length;
    await until(() => count('subscribe') === 15, 'subscribe replies');
    for (let i = 0; i < 100; i += 1) {
      await api('publish', { channel: channels[i % 15], data: { ...odd, i, pad: 'x'.repeat(4000) } });
    }
    await until(() => count('pub') === 100, 'publications');
    const got = s.seen.filter((r) => r.push?.pub).map((r) => r.push.pub.data);
    assert.deepEqual(got.map((d) => d.i), Array.from({ length: 100 }, (_, i) => i));
    for (const value of got) assert.equal(value.text, odd.text);
    await api('disconnect', { user: me });
    await until(() => s.end, 'the close frame');
    assert.deepEqual([s.end.code, s.end.reason, s.end.wasClean], [3503, 'force disconnect', true]);
  },

  async bad_token(me) {
    const s = socket(URL_SOCKJS);
    await new Promise((resolve) => { s.onopen = resolve; });
    s.send(JSON.stringify({ id: 1, connect: { token: `${token(me)}x` } }));
    await until(() => s.end, 'the close frame');
    assert.deepEqual([s.end.code, s.end.reason], [3500, 'invalid token']);
  },

  async cut_off_and_recovered(me) {
    const between = await gate();
    const c = new Centrifuge([{ transport: 'sockjs', endpoint: between.url }], {
      sockjs: SockJS,
      sockjsOptions: { transports: receiver },
      token: token(me),
      minReconnectDelay: 20,
      maxReconnectDelay: 100,
      maxServerPingDelay: 2000,
    });
    const context = once(c, 'connected');
    c.connect();
    assert.equal((await context).transport, `sockjs-${receiver}`);
    const channel = `chat:${me}`;
    const sub = await subscribed(c, channel);
    await sub.publish(odd);
    await until(() => data(sub).length === 1, 'the first publication');
    const gone = once(c, 'connecting');
    between.shut();
    await gone;
    for (const n of [2, 3, 4]) await api('publish', { channel, data: n });
    const again = once(sub, 'subscribed');
    between.reopen();
    const back = await again;
    assert.ok(back.wasRecovering && back.recovered);
    await api('publish', { channel, data: 5 });
    await until(() => data(sub).length === 5, 'all publications');
    assert.deepEqual(data(sub), [odd, 2, 3, 4, 5]);
    const offsets = sub.seen.filter((s) => s.event === 'publication').map((s) => s.offset);
    assert.deepEqual(offsets, [1, 2, 3, 4, 5]);
    const end = once(c, 'disconnected');
    await api('disconnect', { user: me });
    const { code, reason } = await end;
    assert.deepEqual([code, reason], [3503, 'force disconnect']);
  },
};

try {
  await scenarios[name](`sockjs-${name}-${receiver}`);
} catch (error) {
  console.error(error);
  process.exitCode = 1;
}
process.exit();
