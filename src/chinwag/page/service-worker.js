// Shows offline.html if the server does not answer, and does nothing else. The page's own code is never cached, so that none
// of it can be stale: each visit gets the server's own, whole, or the page that says that there is no server.

const CACHE = "offline";
const GATEWAY_ERRORS = [502, 503, 504]; // of a proxy without a server behind it

const worker = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));
const FILES = ["offline.html", "offline.js", "tokens.css", "base.css", "page.css", "icon.svg"];
const CACHED = FILES.map((file) => new URL(file, worker.registration.scope).href);
const OFFLINE_PAGE = CACHED[0];

worker.addEventListener("install", (event) => {
  worker.skipWaiting(); // no open page depends on this worker
  event.waitUntil(fillCache());
});

worker.addEventListener("activate", (event) => {
  event.waitUntil(Promise.all([deleteOldCaches(), worker.clients.claim(), worker.registration.navigationPreload?.enable()]));
});

worker.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.mode === "navigate") event.respondWith(navigate(event));
  else if (CACHED.includes(request.url)) event.respondWith(fetch(request).catch(() => cached(request.url)));
});

/**
 * Navigation preload asks the server while this worker wakes, so that it costs a visit no time.
 *
 * @param {FetchEvent} event
 */
async function navigate(event) {
  try {
    const response = (await event.preloadResponse) ?? (await fetch(event.request));
    if (!GATEWAY_ERRORS.includes(response.status)) {
      event.waitUntil(fillCache().catch(() => {})); // the offline page is of the server's version
      return response;
    }
  } catch {
    // there is no network, or no server
  }
  return cached(OFFLINE_PAGE);
}

/** @param {string} url */
async function cached(url) {
  return (await caches.match(url)) ?? Response.error();
}

// Without credentials, as no user's key belongs in a cache; the browser asks whether its copy is still the same.
async function fillCache() {
  const cache = await caches.open(CACHE);
  await cache.addAll(CACHED.map((url) => new Request(url, { credentials: "omit", cache: "no-cache" })));
}

async function deleteOldCaches() {
  for (const name of await caches.keys()) if (name !== CACHE) await caches.delete(name);
}
