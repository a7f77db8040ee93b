// centrifuge-js against a running server: `node scenarios.mjs NAME`.

import assert from 'node:assert/strict';
import {
  api, client, connected, cut, data, decode, encode, inSeconds, once, pause, protobuf, run,
  subscribed, token, until, whileDown,
} from './harness.mjs';

const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => ({ n: from + i }));

async function publish(channel, ...values) {
  for (const value of values) await api('publish', { channel, data: value });
}

await run({
  async connect(me) {
    const c = await connected(me);
    assert.match(c.context.client, /^[0-9a-f-]{36}$/);
    assert.equal(c.context.transport, 'websocket');
    const gone = once(c, 'disconnected');
    c.disconnect();
    assert.equal((await gone).code, 0);
  },

  async subscribe_and_publish(me) {
    const [ann, bob] = [await connected(`${me}-ann`), await connected(`${me}-bob`)];
    const channel = `chat:${me}`;
    const [a, b] = [await subscribed(ann, channel), await subscribed(bob, channel)];
    assert.ok(a.context.recoverable && a.context.positioned);
    await a.publish(encode({ text: 'hi <b>&\u2028 ü' }));
    await publish(channel, { from: 'api' });
    for (const sub of [a, b]) {
      await until(() => data(sub).length === 2, 'both publications');
      assert.deepEqual(data(sub), [{ text: 'hi <b>&\u2028 ü' }, { from: 'api' }]);
    }
    const [first, second] = b.seen.filter((s) => s.event === 'publication');
    assert.deepEqual([first.offset, second.offset], [1, 2]);
    assert.equal(first.info.user, `${me}-ann`);
    assert.equal(second.info, undefined);
    b.unsubscribe();
    await until(() => b.state === 'unsubscribed', 'unsubscribe');
    await publish(channel, 3);
    await until(() => data(a).length === 3, 'the third publication');
    assert.equal(data(b).length, 2);
  },

  async history(me) {
    const channel = `chat:${me}`;
    await publish(channel, ...numbers(1, 5));
    const sub = await subscribed(await connected(me), channel);
    const all = await sub.history({ limit: 10 });
    assert.deepEqual(all.publications.map((p) => decode(p.data)), numbers(1, 5));
    assert.equal(all.offset, 5);
    const since = await sub.history({ limit: 2, since: { offset: 2, epoch: all.epoch } });
    assert.deepEqual(since.publications.map((p) => p.offset), [3, 4]);
    const newest = await sub.history({ limit: 2, reverse: true });
    assert.deepEqual(newest.publications.map((p) => p.offset), [5, 4]);
    assert.equal((await sub.history({ limit: 0 })).publications.length, 0);
    await assert.rejects(
      sub.history({ limit: 1, since: { offset: 1, epoch: 'wrong' } }),
      (error) => error.code === 112,
    );
  },

  async presence_join_and_leave(me) {
    const channel = `chat:${me}`;
    const ann = await connected(`${me}-ann`, { token: token(`${me}-ann`, { info: { name: 'Ann' } }) });
    const a = await subscribed(ann, channel);
    const bob = await connected(`${me}-bob`);
    await subscribed(bob, channel);
    const { clients } = await a.presence();
    assert.deepEqual(Object.values(clients).map((i) => i.user).sort(), [`${me}-ann`, `${me}-bob`]);
    assert.deepEqual(decode(clients[ann.context.client].connInfo), { name: 'Ann' });
    assert.deepEqual(await a.presenceStats(), { numClients: 2, numUsers: 2 });
    bob.disconnect();
    await until(() => a.seen.some((s) => s.event === 'leave'), 'leave');
    const told = a.seen.filter((s) => s.event === 'join' || s.event === 'leave');
    assert.deepEqual(told.map((s) => [s.event, s.info.user]), [
      ['join', `${me}-ann`], ['join', `${me}-bob`], ['leave', `${me}-bob`],
    ]);
    assert.equal((await a.presenceStats()).numClients, 1);
  },

  async recovery_after_a_drop(me) {
    const channel = `chat:${me}`;
    const c = await connected(me);
    const sub = await subscribed(c, channel);
    await publish(channel, ...numbers(1, 2));
    await until(() => data(sub).length === 2, 'live publications');
    const back = once(c, 'connected');
    const again = once(sub, 'subscribed');
    await whileDown(() => publish(channel, ...numbers(3, 7)));
    await back;
    const context = await again;
    assert.ok(context.wasRecovering && context.recovered);
    await until(() => data(sub).length === 7, 'recovered publications');
    await publish(channel, ...numbers(8, 8));
    await until(() => data(sub).length === 8, 'live publication');
    assert.deepEqual(data(sub), numbers(1, 8));
  },

  async too_much_missed_is_told(me) {
    const channel = `short:${me}`;
    const c = await connected(me);
    const sub = await subscribed(c, channel);
    const again = once(sub, 'subscribed');
    await whileDown(() => publish(channel, ...numbers(1, 5)));
    const context = await again;
    assert.ok(context.wasRecovering);
    assert.equal(context.recovered, false);
    assert.deepEqual(data(sub), []);
    await publish(channel, 6);
    await until(() => data(sub).length === 1, 'live publication');
  },

  async cache_recovery(me) {
    const channel = `cache:${me}`;
    await publish(channel, 1, 2, 3);
    const sub = await subscribed(await connected(me), channel);
    assert.ok(sub.context.recovered);
    await until(() => data(sub).length === 1, 'the latest value');
    assert.deepEqual(data(sub), [3]);
  },

  async connection_token_refresh(me) {
    let asked = 0;
    const c = await connected(me, {
      token: token(me, { exp: inSeconds(2) }),
      getToken: async () => {
        asked += 1;
        return token(me, { exp: inSeconds(3600) });
      },
    });
    let dropped = false;
    c.on('connecting', () => { dropped = true; });
    await until(() => asked > 0, 'getToken');
    await pause(3500);
    assert.equal(c.state, 'connected');
    assert.equal(dropped, false);
    assert.equal(asked, 1);
  },

  async expired_token_at_connect_is_fetched_anew(me) {
    let asked = 0;
    const c = await connected(me, {
      token: token(me, { exp: inSeconds(-10) }),
      getToken: async () => { asked += 1; return token(me); },
    });
    assert.equal(asked, 1);
    assert.equal(c.state, 'connected');
  },

  async expired_connection_ends(me) {
    // Tokens of a second or two, until one comes in time; then none.
    let offline = false;
    const c = client({
      getToken: async () => {
        if (offline) throw new Error('offline');
        return token(me, { exp: inSeconds(2) });
      },
    });
    const codes = [];
    c.on('connecting', (context) => codes.push(context.code));
    c.on('connected', () => { offline = true; });
    c.connect();
    await until(() => codes.includes(3005), 'disconnect 3005');
  },

  async subscription_token(me) {
    const channel = `private:${me}`;
    const c = await connected(me);
    const refused = c.newSubscription(channel);
    const ended = once(refused, 'unsubscribed');
    refused.subscribe();
    assert.equal((await ended).code, 103);
    c.removeSubscription(refused);
    let asked = 0;
    const sub = await subscribed(c, channel, {
      getToken: async (context) => {
        assert.equal(context.channel, channel);
        asked += 1;
        return token(me, { channel, exp: inSeconds(asked === 1 ? 2 : 3600) });
      },
    });
    await until(() => asked === 2, 'the second subscription token');
    await pause(2500);
    assert.equal(sub.state, 'subscribed');
    assert.equal(sub.seen.filter((s) => s.event === 'subscribing').length, 1);
  },

  async wrong_subscription_token(me) {
    const c = await connected(me);
    const gone = once(c, 'disconnected');
    c.newSubscription(`private:${me}`, { token: token(me, { channel: 'private:other' }) }).subscribe();
    assert.equal((await gone).code, 3500);
  },

  async rpc(me) {
    const c = await connected(me);
    await c.rpc('ping', encode({}));
    await assert.rejects(c.rpc('nothing', encode({})), (error) => error.code === 104);
  },

  async errors_of_commands(me) {
    const c = await connected(me);
    await assert.rejects(c.publish('nowhere:x', encode(1)), (error) => error.code === 102);
    await assert.rejects(c.publish(`chat:${me}`, encode(1)), (error) => error.code === 103);
    await assert.rejects(c.presence(`short:${me}`), (error) => error.code === 108);
    await assert.rejects(c.history(`bin:${me}`), (error) => error.code === 108);
  },

  async delta(me) {
    const channel = `delta:${me}`;
    const text = 'the same long text that is sent again and again '.repeat(20);
    const c = await connected(me);
    const sub = await subscribed(c, channel, { delta: 'fossil' });
    const values = Array.from({ length: 6 }, (_, n) => ({ text, n, ü: '☃' }));
    await publish(channel, ...values.slice(0, 3));
    await until(() => data(sub).length === 3, 'patched publications');
    const again = once(sub, 'subscribed');
    await whileDown(() => publish(channel, values[3], values[4]));
    assert.ok((await again).recovered);
    await publish(channel, values[5]);
    await until(() => data(sub).length === 6, 'publications after recovery');
    assert.deepEqual(data(sub), values);
    // Nothing missed: what comes next must fit what the client holds.
    const third = once(sub, 'subscribed');
    cut();
    assert.ok((await third).recovered);
    await publish(channel, { text, n: 7 });
    await until(() => data(sub).length === 7, 'publication after an empty recovery');
    assert.deepEqual(data(sub)[6], { text, n: 7 });
  },

  async tags_filter(me) {
    const channel = `tags:${me}`;
    const filter = { op: 'and', nodes: [
      { key: 'kind', cmp: 'in', vals: ['a', 'b'] },
      { op: 'not', nodes: [{ key: 'n', cmp: 'gte', val: '10' }] },
    ] };
    const c = await connected(me);
    const sub = await subscribed(c, channel, { tagsFilter: filter });
    const send = async (value, tags) => api('publish', { channel, data: value, tags });
    await send(1, { kind: 'a', n: '1' });
    await send(2, { kind: 'a', n: '11' });
    await send(3, { kind: 'c', n: '1' });
    await send(4, { kind: 'b' });
    await until(() => data(sub).length === 2, 'matching publications');
    const again = once(sub, 'subscribed');
    await whileDown(async () => {
      await send(5, { kind: 'c' });
      await send(6, { kind: 'a' });
    });
    assert.ok((await again).recovered);
    await until(() => data(sub).length === 3, 'recovered publication');
    assert.deepEqual(data(sub), [1, 4, 6]);
    assert.deepEqual(sub.seen.filter((s) => s.event === 'publication')[0].tags, { kind: 'a', n: '1' });
  },

  async server_side_subscriptions(me) {
    const c = client({ token: token(me, { subs: { [`chat:${me}`]: {} } }) });
    const seen = [];
    for (const event of ['subscribed', 'unsubscribed', 'publication']) {
      c.on(event, (context) => seen.push([event, context.channel, context.data && decode(context.data)]));
    }
    const recovered = [];
    c.on('subscribed', (context) => recovered.push(context.recovered));
    c.connect();
    await until(() => seen.length === 2, 'subscriptions at connect');
    assert.deepEqual(seen.splice(0).map((s) => s[1]).sort(), [`#${me}`, `chat:${me}`]);
    await publish(`chat:${me}`, 1);
    await until(() => seen.length === 1, 'publication');
    assert.deepEqual(seen.splice(0), [['publication', `chat:${me}`, 1]]);
    recovered.length = 0;
    await whileDown(() => publish(`chat:${me}`, 2, 3));
    await until(() => seen.filter((s) => s[0] === 'publication').length === 2, 'recovered publications');
    assert.ok(recovered.includes(true));
    assert.deepEqual(seen.splice(0).filter((s) => s[0] === 'publication').map((s) => s[2]), [2, 3]);
    await api('subscribe', { user: me, channel: `short:${me}`, data: { hello: 1 } });
    await until(() => seen.length === 1, 'subscribe push');
    assert.deepEqual(seen.splice(0), [['subscribed', `short:${me}`, { hello: 1 }]]);
    await api('unsubscribe', { user: me, channel: `short:${me}` });
    await until(() => seen.length === 1, 'unsubscribe push');
    assert.deepEqual(seen.splice(0)[0].slice(0, 2), ['unsubscribed', `short:${me}`]);
  },

  async server_unsubscribe(me) {
    const sub = await subscribed(await connected(me), `chat:${me}`);
    const ended = once(sub, 'unsubscribed');
    await api('unsubscribe', { user: me, channel: `chat:${me}` });
    assert.equal((await ended).code, 2000);
  },

  async disconnect_codes(me) {
    for (const [code, reconnects] of [[undefined, false], [4500, false], [4000, true]]) {
      const c = await connected(me);
      const next = once(c, reconnects ? 'connecting' : 'disconnected');
      await api('disconnect', { user: me, disconnect: code && { code, reason: 'because' } });
      const context = await next;
      assert.equal(context.code, code ?? 3503);
      assert.equal(context.reason, code ? 'because' : 'force disconnect');
      if (reconnects) await once(c, 'connected');
      c.disconnect();
    }
  },

  async invalid_token(me) {
    const c = client({ token: `${token(me)}x` });
    const gone = once(c, 'disconnected');
    c.connect();
    assert.equal((await gone).code, 3500);
  },

  async pings(me) {
    const c = await connected(me);
    let dropped = false;
    c.on('connecting', () => { dropped = true; });
    await pause(8500); // pings every 3 s, pongs within 2 s
    assert.equal(c.state, 'connected');
    assert.equal(dropped, false);
  },

  async many_channels(me) {
    const c = await connected(me);
    const subs = Array.from({ length: 19 }, (_, n) => c.newSubscription(`chat:${me}-${n}`));
    const all = Promise.all(subs.map((sub) => once(sub, 'subscribed')));
    subs.forEach((sub) => sub.subscribe());
    await all;
    const over = c.newSubscription(`chat:${me}-over`);
    const refused = once(over, 'unsubscribed'); // the personal channel is the twentieth
    over.subscribe();
    assert.equal((await refused).code, 106);
  },

  async binary_data(me) {
    if (!protobuf) return;
    const sub = await subscribed(await connected(me), `bin:${me}`);
    const bytes = new Uint8Array([0, 255, 10, 128]);
    await sub.publish(bytes);
    await until(() => sub.seen.some((s) => s.event === 'publication'), 'publication');
    const [publication] = sub.seen.filter((s) => s.event === 'publication');
    assert.deepEqual([...publication.data], [...bytes]);
  },
});
