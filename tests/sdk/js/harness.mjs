// What the scenarios share: a client over a socket that can be cut, the server API, tokens.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import WebSocket from 'ws';

const { URL_WS, URL_API, API_KEY, SECRET, PROTOCOL } = process.env;
const build = PROTOCOL === 'protobuf' ? 'centrifuge/build/protobuf' : 'centrifuge';

export const protobuf = PROTOCOL === 'protobuf';
export const { Centrifuge, UnauthorizedError } = await import(build);

const WAIT = process.env.PATIENCE * 1000;
const sockets = [];
const clients = [];

const NOWHERE = 'ws://127.0.0.1:1'; // nobody listens there
let isDown = false;

class CuttableSocket extends WebSocket {
  constructor(url, ...args) {
    super(isDown ? NOWHERE : url, ...args);
    sockets.push(this);
  }
}

/** Breaks every open connection without a close frame, as a lost network does. */
export function cut() {
  for (const socket of sockets.splice(0)) socket.terminate();
}

/** Does something while the network is away: no client is back before it is done. */
export async function whileDown(work) {
  isDown = true;
  cut();
  await work();
  isDown = false;
}

export function client(options = {}) {
  const made = new Centrifuge(URL_WS, {
    websocket: CuttableSocket,
    minReconnectDelay: 20,
    maxReconnectDelay: 100,
    ...options,
  });
  clients.push(made);
  return made;
}

/** A client of `user`, connected. */
export async function connected(user, options = {}) {
  const made = client({ token: token(user), ...options });
  const context = once(made, 'connected');
  made.connect();
  made.context = await context;
  return made;
}

/** A subscription of `made`, subscribed, with everything it is told in `seen`. */
export async function subscribed(made, channel, options = {}) {
  const sub = made.newSubscription(channel, options);
  sub.seen = [];
  for (const event of ['publication', 'join', 'leave', 'subscribed', 'subscribing', 'unsubscribed', 'error']) {
    sub.on(event, (context) => sub.seen.push({ event, ...context }));
  }
  const context = once(sub, 'subscribed');
  sub.subscribe();
  sub.context = await context;
  return sub;
}

export function once(emitter, event) {
  return bounded(`event ${event}`, new Promise((resolve) => emitter.once(event, resolve)));
}

export async function until(condition, what) {
  const end = Date.now() + WAIT;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`${what} did not happen`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function bounded(what, promise) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not happen`)), WAIT);
  });
  return Promise.race([promise, limit]).finally(() => clearTimeout(timer));
}

export async function api(method, request) {
  const response = await fetch(`${URL_API}/${method}`, {
    method: 'POST',
    headers: { 'X-API-Key': API_KEY, 'Content-Type': 'application/json' },
    body: JSON.stringify(request),
  });
  assert.equal(response.status, 200);
  const answer = await response.json();
  assert.equal(answer.error, undefined, JSON.stringify(answer));
  return answer.result;
}

export function token(user, claims = {}) {
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const body = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: user, ...claims })}`;
  return `${body}.${createHmac('sha256', SECRET).update(body).digest('base64url')}`;
}

export const inSeconds = (seconds) => Math.floor(Date.now() / 1000) + seconds;

/** Data as the application sees it: the Protobuf build gives and takes bytes. */
export const encode = (value) => (protobuf ? new TextEncoder().encode(JSON.stringify(value)) : value);
export const decode = (data) => {
  if (!protobuf) return data;
  return data.length ? JSON.parse(new TextDecoder().decode(data)) : undefined;
};

export const data = (sub) => sub.seen.filter((s) => s.event === 'publication').map((s) => decode(s.data));

/** Runs the scenario named on the command line; the exit code tells how it went. */
export async function run(scenarios) {
  const name = process.argv[2];
  if (name === '--list') {
    console.log(JSON.stringify(Object.keys(scenarios)));
    return;
  }
  try {
    // Channels and users of a scenario are its own: they share one server.
    await scenarios[name](`${name}-${PROTOCOL}`);
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  } finally {
    for (const made of clients) made.disconnect();
    setTimeout(() => process.exit(), 50);
  }
}
