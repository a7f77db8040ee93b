// What the tests call in the page: one client, one subscription, and a record of their events.
"use strict";

const events = [];

function note(kind, context) {
  events.push({ kind, ...context });
}

// WebTransport with a certificate that no authority knows.
function trusting(hash) {
  const value = Uint8Array.from(atob(hash), (c) => c.charCodeAt(0));
  return class extends WebTransport {
    constructor(url) {
      super(url, { serverCertificateHashes: [{ algorithm: "sha-256", value }] });
    }
  };
}

function start({ transport, endpoint, emulation, token, channel, hash, receiver }) {
  const options = {
    token,
    emulationEndpoint: emulation,
    minReconnectDelay: 20,
    maxReconnectDelay: 200,
    maxServerPingDelay: 2000,
    timeout: 2000,
  };
  if (transport === "sockjs") {
    options.sockjs = SockJS;
    options.sockjsOptions = { transports: [receiver] };
  }
  if (transport === "webtransport") window.WebTransport = trusting(hash); // no option for it
  const client = new Centrifuge([{ transport, endpoint }], options);
  client.on("connected", (c) => note("connected", { transport: c.transport }));
  client.on("connecting", (c) => note("connecting", { code: c.code, reason: c.reason }));
  client.on("disconnected", (c) => note("disconnected", { code: c.code, reason: c.reason }));
  client.on("error", (c) => note("error", { message: `${c.type} ${c.error?.message}` }));
  const subscription = client.newSubscription(channel, { positioned: true, recoverable: true });
  subscription.on("subscribed", (c) =>
    note("subscribed", { recovered: c.recovered, wasRecovering: c.wasRecovering }),
  );
  subscription.on("publication", (c) => note("publication", { data: c.data, offset: c.offset }));
  subscription.subscribe();
  client.connect();
  Object.assign(window, { client, subscription });
}
