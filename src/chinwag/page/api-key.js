// The server's API key, if it wants one: asked for once and kept in this browser.

const NAME = "chinwag.key";
const TOKEN = /^[A-Za-z0-9._-]+$/; // characters of the server's keys, which a WebSocket's subprotocol can hold

let current = read();

// A QR code of `chinwag serve --lan` brings the key in the URL's fragment, which no server receives. It does not stay in the address.
const fromFragment = new URLSearchParams(location.hash.slice(1)).get("key");
if (fromFragment) {
  keep(fromFragment);
  history.replaceState(null, "", location.pathname + location.search);
}

/** The key; empty if there is none. */
export function key() {
  return current;
}

/** Keeps a key, or forgets it if empty. @param {string} value */
export function keep(value) {
  current = value;
  try {
    if (value) localStorage.setItem(NAME, value);
    else localStorage.removeItem(NAME);
  } catch {
    // a browser without storage asks again at the next visit
  }
}

/** HTTP headers with the key. @returns {Record<string, string>} */
export function authorization() {
  return current ? { Authorization: `Bearer ${current}` } : {};
}

/** Whether the server accepts the key; null if it cannot be reached. */
export async function accepted() {
  if (!TOKEN.test(current)) return false;
  try {
    const response = await fetch("v1/models", { headers: authorization(), cache: "no-store" });
    return response.status !== 401;
  } catch {
    return null;
  }
}

/** Subprotocols with the key for a WebSocket, which takes no headers in a browser. */
export function subprotocols() {
  return TOKEN.test(current) ? ["realtime", `openai-insecure-api-key.${current}`] : [];
}

function read() {
  try {
    return localStorage.getItem(NAME) ?? "";
  } catch {
    return "";
  }
}
