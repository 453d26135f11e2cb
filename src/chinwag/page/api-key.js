// The server's key, where it wants one: asked for once and kept in this browser.

const NAME = "chinwag.key";
const TOKEN = /^[A-Za-z0-9._-]+$/; // what the server's keys are made of, and a WebSocket's subprotocol can hold

let held = read();

// A QR code of `chinwag serve --lan` brings it behind the #, which no server is told; it does not stay in the address.
const brought = new URLSearchParams(location.hash.slice(1)).get("key");
if (brought) {
  keep(brought);
  history.replaceState(null, "", location.pathname + location.search);
}

/** The key; empty where there is none. */
export function key() {
  return held;
}

/** Keeps a key, or forgets it with "". */
export function keep(value) {
  held = value;
  try {
    if (value) localStorage.setItem(NAME, value);
    else localStorage.removeItem(NAME);
  } catch {
    // a browser that keeps nothing asks again next time
  }
}

/** Headers that bring the key. */
export function authorization() {
  return held ? { Authorization: `Bearer ${held}` } : {};
}

/** Whether the server takes the key; null where it cannot be asked. */
export async function accepted() {
  if (!TOKEN.test(held)) return false;
  try {
    const answer = await fetch("v1/models", { headers: authorization(), cache: "no-store" });
    return answer.status !== 401;
  } catch {
    return null;
  }
}

/** Subprotocols that bring the key with a WebSocket, which takes no headers in a browser. */
export function subprotocols() {
  return TOKEN.test(held) ? ["realtime", `openai-insecure-api-key.${held}`] : [];
}

function read() {
  try {
    return localStorage.getItem(NAME) ?? "";
  } catch {
    return "";
  }
}
