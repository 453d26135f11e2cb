// Remembers the session of this tab, so that the page finds it again when it is loaded anew. Closing the tab forgets it.

const KEY = "chinwag.return";

export class ResumeStore {
  /** token: with which to come back to the session. transport: by which. conversation: its id, where it is kept. */
  static remember(known) {
    write({ ...read(), ...known });
  }

  /** What was remembered, once; null where there is nothing. */
  static take() {
    const kept = read();
    ResumeStore.forget();
    return kept;
  }

  /** There is nothing to come back to. */
  static forget() {
    write(null);
  }
}

// Storage may be forbidden: then a page that is loaded again begins anew.
function write(kept) {
  try {
    if (kept) sessionStorage.setItem(KEY, JSON.stringify(kept));
    else sessionStorage.removeItem(KEY);
  } catch {}
}

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY));
  } catch {
    return null;
  }
}
