// Shows away.html where the server does not answer, and does nothing else. The page's own code is never kept, so that none of
// it can be stale: each visit has the server's own, whole, or is told that there is no server.

const CACHE = "away";
const KEPT = ["away.html", "away.js", "tokens.css", "base.css", "page.css", "icon.svg"].map((file) => new URL(file, self.registration.scope).href);
const AWAY = KEPT[0];
const PROXY = [502, 503, 504]; // a proxy in front tells that there is nothing behind it

self.addEventListener("install", (event) => {
  self.skipWaiting(); // nothing of a page that is open depends on it
  event.waitUntil(keep());
});

self.addEventListener("activate", (event) => {
  event.waitUntil(Promise.all([tidy(), self.clients.claim(), self.registration.navigationPreload?.enable()]));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.mode === "navigate") event.respondWith(visit(event));
  else if (KEPT.includes(request.url)) event.respondWith(fetch(request).catch(() => caches.match(request.url)));
});

// Navigation preload asks the server while this worker wakes, so that it costs a visit no time.
async function visit(event) {
  try {
    const answer = (await event.preloadResponse) ?? (await fetch(event.request));
    if (!PROXY.includes(answer.status)) {
      event.waitUntil(keep().catch(() => {})); // what is shown when it is away is of the same version
      return answer;
    }
  } catch {
    // no network, or nobody listens
  }
  return (await caches.match(AWAY)) ?? Response.error();
}

// Without credentials, as nobody's key has anything to do in a cache; the browser asks whether what it has is still the same.
async function keep() {
  const cache = await caches.open(CACHE);
  await cache.addAll(KEPT.map((url) => new Request(url, { credentials: "omit", cache: "no-cache" })));
}

async function tidy() {
  for (const name of await caches.keys()) if (name !== CACHE) await caches.delete(name);
}
