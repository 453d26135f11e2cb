// The page that the service worker shows if the server does not answer: asks until it does, then loads the real page.

const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 10_000;
const TIMEOUT_MS = 5_000;

const words = /** @type {HTMLElement} */ (document.getElementById("away-words"));
const since = performance.now();
let wait = FIRST_WAIT_MS;
let next = since + wait;
let asking = false;

async function ask() {
  if (asking) return;
  asking = true;
  try {
    const answer = await fetch("healthz", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (answer.ok) return location.reload();
  } catch {
    // it still does not answer
  }
  asking = false;
  wait = Math.min(2 * wait, LONGEST_WAIT_MS);
  next = performance.now() + wait;
}

function showProgress() {
  const now = performance.now();
  if (now >= next) ask();
  const left = Math.ceil((next - now) / 1000);
  const tried = `for ${Math.round((now - since) / 1000)} s now`;
  words.textContent = `${left > 0 ? `Trying again in ${left} s` : "Trying again…"} · ${tried}`;
}

/** @type {HTMLElement} */ (document.getElementById("away-now")).onclick = ask;
addEventListener("online", ask);
setInterval(showProgress, 250);
showProgress();
