// A backend in Node.js, without a framework: it says who connects and what each may do.
//
// Run it with `PORT=3000 node examples/backends/node_backend.mjs`, and beside it the server:
// `flyball -c examples/backends/http.json`.

import { createServer } from 'node:http';

const hour = 3600;
const inAnHour = () => Math.floor(Date.now() / 1000) + hour;
const refuse = (code, message) => ({ error: { code, message } });

// One function for each question; what it returns is the answer.
const answers = {
  // A client without a token; here it just says its name.
  '/connect': ({ data }) => {
    const name = data?.name;
    if (!name) return { disconnect: { code: 4501, reason: 'say who you are' } };
    const channels = [`inbox:${name}`];
    return { result: { user: name, info: { name }, channels, expire_at: inAnHour() } };
  },

  // The hour is over; the server asks by itself, the client need not know.
  '/refresh': () => ({ result: { expire_at: inAnHour() } }),

  '/subscribe': ({ channel, user }) => {
    if (channel === 'room:closed') return refuse(403, 'this room is closed');
    return { result: { data: { welcome: user }, override: { presence: { value: true } } } };
  },

  // What is published is what stands in the result; an empty result lets it pass as it is.
  '/publish': ({ data, user }) => {
    const text = data?.text?.trim();
    return text ? { result: { data: { text, by: user } } } : refuse(400, 'a message needs a text');
  },

  '/rpc': ({ method, data }) => {
    if (method !== 'add') return refuse(404, 'no such method');
    return { result: { data: { sum: data.reduce((sum, n) => sum + n, 0) } } };
  },
};

async function handle(request, response) {
  let body = '';
  for await (const part of request) body += part;
  const answer = answers[request.url];
  if (!answer) return response.writeHead(404).end();
  const text = JSON.stringify(answer(JSON.parse(body)));
  return response.writeHead(200, { 'Content-Type': 'application/json' }).end(text);
}

createServer((request, response) => {
  handle(request, response).catch((error) => {
    console.error(error);
    response.writeHead(500).end();
  });
}).listen(process.env.PORT ?? 3000, '127.0.0.1');
