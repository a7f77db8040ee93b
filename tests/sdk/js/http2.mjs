// Node's own HTTP/2 client against a running server: `node http2.mjs NAME`.

import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { once, pause, run, token } from './harness.mjs';

const { URL_HTTP2 } = process.env;
const sessions = [];

/** A connection, with the server's settings known. */
async function dial() {
  const session = http2.connect(URL_HTTP2, { rejectUnauthorized: false });
  sessions.push(session);
  await once(session, 'remoteSettings');
  assert.equal(session.alpnProtocol, 'h2');
  return session;
}

/** A request; `status` and the lines of the answer come as they come. */
function ask(session, method, path, body, headers = {}) {
  const stream = session.request({ ':method': method, ':path': path, ...headers }, {
    endStream: body === undefined,
  });
  Object.assign(stream, { lines: [], text: '', isOver: false });
  stream.setEncoding('utf8');
  stream.on('response', (answer) => { stream.answer = answer; });
  stream.on('data', (text) => {
    stream.text += text;
    const parts = stream.text.split('\n');
    stream.text = parts.pop();
    stream.lines.push(...parts.filter(Boolean).map((line) => JSON.parse(line)));
  });
  stream.on('end', () => { stream.isOver = true; });
  stream.on('error', () => {});
  if (body !== undefined) stream.end(body);
  return stream;
}

async function line(stream, condition) {
  for (const end = Date.now() + process.env.PATIENCE * 1000; Date.now() < end; await pause(5)) {
    const found = stream.lines.find(condition);
    if (found) return found;
  }
  throw new Error(`no such line; there were ${JSON.stringify(stream.lines)}`);
}

async function over(stream) {
  if (!stream.isOver) await once(stream, 'end');
  return stream;
}

/** A client of HTTP streaming in a channel. */
async function join(session, user, channel) {
  const connect = JSON.stringify({ id: 1, connect: { token: token(user) } });
  const stream = ask(session, 'POST', '/connection/http_stream', connect);
  stream.connected = (await line(stream, (l) => l.id === 1)).connect;
  assert.equal(stream.answer[':status'], 200);
  stream.tell = async (...commands) => {
    const data = commands.map((c) => JSON.stringify(c)).join('\n');
    const { session: id, node } = stream.connected;
    const body = JSON.stringify({ session: id, node, data });
    const answer = await over(ask(session, 'POST', '/emulation', body));
    assert.equal(answer.answer[':status'], 204);
  };
  await stream.tell({ id: 2, subscribe: { channel } });
  await line(stream, (l) => l.id === 2 && l.subscribe);
  return stream;
}

const published = (stream) => stream.lines.filter((l) => l.push?.pub).map((l) => l.push.pub.data);

await run({
  async stream_and_emulation(me) {
    const session = await dial();
    const stream = await join(session, me, `chat:${me}`);
    await stream.tell({ id: 3, publish: { channel: `chat:${me}`, data: { n: 1 } } });
    await line(stream, (l) => l.id === 3);
    assert.deepEqual(published(stream), [{ n: 1 }]);
    await stream.tell({ id: 4, rpc: { method: 'ping', data: {} } });
    await line(stream, (l) => l.id === 4);
    await line(stream, (l) => !Object.keys(l).length); // a ping, answered over /emulation
    await stream.tell({});
    await pause(2500); // longer than the server waits for a pong
    assert.equal(stream.isOver, false);
  },

  async many_streams(me) {
    const session = await dial();
    const names = Array.from({ length: 100 }, (_, n) => `${me}-${n}`);
    const streams = await Promise.all(names.map((name) => join(session, name, `chat:${me}`)));
    await streams[0].tell({ id: 3, publish: { channel: `chat:${me}`, data: 'x'.repeat(1000) } });
    await Promise.all(streams.map((stream) => line(stream, (l) => l.push?.pub)));
    for (const stream of streams.slice(50)) stream.close(http2.constants.NGHTTP2_CANCEL);
    await streams[0].tell({ id: 4, publish: { channel: `chat:${me}`, data: 2 } });
    for (const stream of streams.slice(0, 50)) await line(stream, (l) => l.push?.pub?.data === 2);
  },

  async small_windows(me) {
    const session = http2.connect(URL_HTTP2, {
      rejectUnauthorized: false,
      settings: { initialWindowSize: 100, maxFrameSize: 16384 },
    });
    sessions.push(session);
    const stream = await join(session, me, `chat:${me}`);
    const data = 'x'.repeat(20000);
    await stream.tell({ id: 3, publish: { channel: `chat:${me}`, data } });
    await line(stream, (l) => l.push?.pub?.data === data);
  },

  async websocket_connect(me) {
    const session = await dial();
    assert.equal(session.remoteSettings.enableConnectProtocol, true);
    const stream = session.request({
      ':method': 'CONNECT',
      ':protocol': 'websocket',
      ':path': '/connection/websocket',
      'sec-websocket-version': '13',
    });
    const answer = await once(stream, 'response');
    assert.equal(answer[':status'], 200);
    const command = Buffer.from(JSON.stringify({ id: 1, connect: { token: token(me) } }));
    const head = Buffer.from([0x81, 0x80 | 126, command.length >> 8, command.length & 255, 0, 0, 0, 0]);
    stream.write(Buffer.concat([head, command]));
    const frame = await once(stream, 'data');
    assert.equal(frame[0], 0x81);
    assert.match(frame.toString(), /"id":1,"connect":\{"client"/);
    stream.end(Buffer.from([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]));
    assert.deepEqual([...await once(stream, 'data')], [0x88, 2, 3, 0xe8]);
    await once(stream, 'end');
  },

  async shutdown(me) {
    const session = await dial();
    const stream = await join(session, me, `chat:${me}`);
    console.log('connected');
    const { push } = await line(stream, (l) => l.push?.disconnect);
    assert.equal(push.disconnect.code, 3001);
    await over(stream);
    if (!session.closed && !session.destroyed) await once(session, 'close');
    console.log('done');
  },
});

for (const session of sessions) session.destroy();
