// Pusher's official server library, as the tests use it. Prints one line of JSON.
//
//   node pusher.mjs trigger <app> <channels> <event> <data>   triggers an event
//   node pusher.mjs old <app> <seconds>                       triggers one with a clock that is so far behind
//
// An app is JSON: { appId, key, secret, host, port }. So are channels and data.

import Pusher from "pusher";

const [command, app, ...rest] = process.argv.slice(2);
const pusher = new Pusher({ ...JSON.parse(app), useTLS: false });
console.log(JSON.stringify(await { trigger, old }[command](...rest)));

async function trigger(channels, event, data) {
  try {
    const response = await pusher.trigger(JSON.parse(channels), event, JSON.parse(data));
    return { status: response.status, body: await response.text() };
  } catch (error) {
    return { status: error.status, body: error.body };
  }
}

async function old(seconds) {
  // The library reads the clock itself.
  const now = Date.now;
  Date.now = () => now() - Number(seconds) * 1000;
  return trigger(JSON.stringify(["bob"]), "message", "{}");
}
