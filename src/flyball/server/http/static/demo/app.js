// The demo chat. Everything that talks to the server goes through centrifuge-js, as any page would.
"use strict";

const MAX_SHOWN = 300;
const HISTORY_SHOWN = 50;

const $ = (id) => document.getElementById(id);
const setting = (name) => document.querySelector(`meta[name="flyball:${name}"]`).content;

const room = (location.hash.slice(1).match(/^[\w.-]{1,40}$/) || ["lobby"])[0];
const channel = `chat:${room}`;
const tokensUrl = setting("tokens");

// ---- who we are: one identity for each window

const userKey = remembered("flyball-user", () => randomHex(8));
let name = remembered("flyball-name", () => `Guest ${parseInt(randomHex(2), 16) % 900 + 100}`);
let user = "";

function remembered(key, make) {
  const known = sessionStorage.getItem(key);
  if (known) return known;
  const made = make();
  sessionStorage.setItem(key, made);
  return made;
}

function randomHex(bytes) {
  const values = crypto.getRandomValues(new Uint8Array(bytes));
  return Array.from(values, (v) => v.toString(16).padStart(2, "0")).join("");
}

async function fetchToken() {
  const response = await fetch(tokensUrl, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ user: userKey, name }),
  });
  if (!response.ok) throw new Error(`no token: HTTP ${response.status}`);
  const answer = await response.json();
  user = answer.user;
  return answer.token;
}

// ---- the connection

// What the server has, the best first; ?transport=sse asks for one of them.
const sockets = location.origin.replace(/^http/, "ws");
const available = [
  { transport: "websocket", endpoint: sockets },
  { transport: "http_stream", endpoint: location.origin },
  { transport: "sse", endpoint: location.origin },
].filter(({ transport }) => setting(transport))
  .map(({ transport, endpoint }) => ({ transport, endpoint: endpoint + setting(transport) }));
const asked = new URLSearchParams(location.search).get("transport");
const chosen = available.filter(({ transport }) => transport === asked);
const options = tokensUrl ? { getToken: fetchToken } : {};
options.emulationEndpoint = location.origin + setting("emulation");
const client = new Centrifuge(chosen.length ? chosen : available, options);
const sub = client.newSubscription(channel, { joinLeave: true, recoverable: true, positioned: true });

let wanted = true; // the user's wish, as against the present state
let renaming = false; // the connection is made anew because the name changed
let clientId = "";
let position = null; // {offset, epoch}
let recovering = null; // {count} while recovered publications arrive
let held = null; // live publications that wait until the history is shown
let historyShown = false;

client.on("connecting", (ctx) => { showState(ctx.code > 0 && wanted ? `reconnecting` : ""); });
client.on("connected", (ctx) => {
  clientId = ctx.client;
  $("client").textContent = ctx.client;
  $("transport").textContent = ctx.transport;
  problem("");
  showState();
});
client.on("disconnected", (ctx) => {
  if (renaming && ctx.code === 0) return;
  if (wanted) problem(`Disconnected by the server: ${ctx.reason} (${ctx.code})`);
  wanted = false;
  showState();
});
client.on("error", (ctx) => problem(`Cannot connect: ${ctx.error.message}. Trying again.`));

sub.on("subscribing", (ctx) => {
  $("subscription").textContent = "subscribing";
  if (ctx.code !== 0) people.clear();
  showPeople();
});
sub.on("subscribed", (ctx) => {
  $("subscription").textContent = "subscribed";
  problem("");
  if (ctx.streamPosition) moveTo(ctx.streamPosition.offset, ctx.streamPosition.epoch);
  if (ctx.wasRecovering && ctx.recovered) {
    // The missed publications follow right after this event.
    const mine = recovering = { count: 0 };
    queueMicrotask(() => { recovering = null; reportRecovery(mine.count); });
  } else {
    if (ctx.wasRecovering) {
      $("recovery").textContent = "not possible: too much was missed";
      notice("Too much was missed to recover it; this is the history that is left.", "bad");
    }
    loadHistory();
  }
  loadPresence();
});
sub.on("publication", (ctx) => {
  if (held) held.push(ctx); else showPublication(ctx);
});
sub.on("unsubscribed", (ctx) => {
  $("subscription").textContent = "unsubscribed";
  if (wanted) problem(`Unsubscribed: ${ctx.reason} (${ctx.code})`);
});
sub.on("error", (ctx) => problem(`Cannot subscribe: ${ctx.error.message} (${ctx.error.code})`));
sub.on("join", (ctx) => { people.set(ctx.info.client, ctx.info); showPeople(); });
sub.on("leave", (ctx) => { people.delete(ctx.info.client); showPeople(); });

function reportRecovery(count) {
  const words = count === 1 ? "1 message" : `${count} messages`;
  if (renaming && !count) return;
  $("recovery").textContent = `${words} at ${clock()}`;
  notice(count ? `You are back: ${words} recovered, nothing is missing.`
    : "You are back: you missed nothing.", "good");
}

async function loadHistory() {
  held = [];
  try {
    const found = await sub.history({ limit: HISTORY_SHOWN, reverse: true });
    for (const publication of found.publications.reverse()) {
      if (!(publication.offset in shownOffsets) || found.epoch !== shownEpoch) {
        showPublication(publication, historyShown ? "" : "earlier");
      }
    }
    shownEpoch = found.epoch;
    historyShown = true;
  } catch (error) {
    problem(`Cannot read the history: ${error.message}`);
  }
  const waiting = held;
  held = null;
  for (const publication of waiting) {
    if (!(publication.offset in shownOffsets)) showPublication(publication);
  }
}

// ---- who is here

const people = new Map();

async function loadPresence() {
  try {
    const found = await sub.presence();
    people.clear();
    for (const [id, info] of Object.entries(found.clients)) people.set(id, info);
    showPeople();
  } catch (error) {
    problem(`Cannot read the presence: ${error.message}`);
  }
}

function showPeople() {
  const items = [...people.values()]
    .map((info) => ({ id: info.client, name: info.connInfo?.name || `visitor ${info.client.slice(0, 4)}` }))
    .sort((a, b) => a.name.localeCompare(b.name));
  $("people").replaceChildren(...items.map((one) => {
    const item = element("li", "", one.name);
    if (one.id === clientId) item.append(element("span", "me", "(you)"));
    return item;
  }));
  $("count").textContent = String(items.length);
}

// ---- messages

const shownOffsets = Object.create(null);
let shownEpoch = "";

function showPublication(publication, kind = "") {
  const data = publication.data && typeof publication.data === "object"
    ? publication.data : { text: String(publication.data) };
  if (publication.offset) {
    shownOffsets[publication.offset] = true;
    if (!kind && position) moveTo(publication.offset, position.epoch);
  }
  if (recovering) { recovering.count += 1; kind = "recovered"; }
  const info = publication.info;
  const mine = info && (info.client === clientId || (user && info.user === user));
  const item = element("li", `message${mine ? " mine" : ""}${kind ? ` ${kind}` : ""}`);
  const meta = element("p", "meta");
  meta.append(element("span", "who", String(info?.connInfo?.name || data.name || "backend")));
  if (data.at) meta.append(element("time", "", clock(new Date(data.at))));
  if (publication.offset) meta.append(element("span", "", `#${publication.offset}`));
  if (kind) meta.append(element("span", kind === "recovered" ? "tag" : "", kind));
  item.append(meta, element("p", "", typeof data.text === "string" ? data.text : JSON.stringify(publication.data)));
  append(item);
}

function notice(text, kind = "") { append(element("li", `notice ${kind}`, text)); }

function append(item) {
  const list = $("messages");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  list.append(item);
  while (list.children.length > MAX_SHOWN) list.firstElementChild.remove();
  $("empty").hidden = true;
  if (atEnd || item.classList.contains("mine")) list.scrollTop = list.scrollHeight;
}

function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function clock(date = new Date()) {
  return Number.isNaN(date.getTime()) ? "" : date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

// ---- state

function moveTo(offset, epoch) {
  position = { offset, epoch };
  $("position").textContent = `${offset} in epoch ${epoch}`;
}

function showState(words = "") {
  const state = client.state;
  $("state").textContent = words || state;
  $("state").dataset.state = state;
  const button = $("toggle");
  button.textContent = wanted ? "Drop connection" : "Come back";
  button.className = wanted ? "danger" : "";
  const offline = state !== "connected";
  $("send").disabled = offline;
  $("away").hidden = wanted;
  if (offline) {
    $("client").textContent = "–";
    $("transport").textContent = "–";
  }
}

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

$("toggle").addEventListener("click", () => {
  wanted = !wanted;
  if (wanted) { client.connect(); } else {
    client.disconnect();
    notice("Connection dropped.");
  }
  showState();
});

$("composer").addEventListener("submit", async (event) => {
  event.preventDefault();
  await rename();
  const text = $("text").value.trim();
  if (!text) return;
  try {
    await sub.publish({ text, name, at: Date.now() });
    $("text").value = "";
    problem("");
  } catch (error) {
    problem(`Not sent: ${error.message}`);
  }
  $("text").focus();
});

// A new name needs a new token: it travels in the connection's info.
async function rename() {
  const asked = $("name").value.trim() || name;
  $("name").value = asked;
  if (asked === name) return;
  name = asked;
  sessionStorage.setItem("flyball-name", name);
  if (!tokensUrl || !wanted) return;
  try {
    const token = await fetchToken();
    renaming = true;
    client.disconnect();
    client.setToken(token);
    client.connect();
    await sub.ready(5000);
  } catch (error) {
    problem(`The name could not be changed: ${error.message}`);
  } finally {
    renaming = false;
  }
}
$("name").addEventListener("change", rename);

$("transports").append(
  new Option("the best that works", ""),
  ...available.map(({ transport }) => new Option(transport, transport)),
);
$("transports").value = chosen.length ? asked : "";
$("transports").addEventListener("change", (event) => {
  const place = new URL(location.href);
  if (event.target.value) place.searchParams.set("transport", event.target.value);
  else place.searchParams.delete("transport");
  location.assign(place);
});
$("name").value = name;
$("room").textContent = channel;
$("second").href = location.href;
$("curl").textContent = `curl ${location.origin}${setting("api")}/publish \\\n`
  + `  -H 'X-API-Key: demo' \\\n`
  + `  -d '{"channel":"${channel}","data":{"text":"hello from a backend"}}'`;
sub.subscribe();
client.connect();
showState();
