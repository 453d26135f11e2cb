// Remembers the session of this tab, so that the page resumes it after a reload. Closing the tab forgets it.

const KEY = "chinwag.return";

/** token: resumes the session. transport: what carried it. conversation: its id, if the server saves it. @typedef {{ token: string, transport: string, conversation: string | null }} Resumable */

export class ResumeStore {
  /** Remembers these parts beside those known already. @param {Partial<Resumable>} parts */
  static remember(parts) {
    write({ ...read(), ...parts });
  }

  /** Returns what was remembered, and forgets it; null if there is nothing. */
  static take() {
    const remembered = read();
    ResumeStore.forget();
    return remembered;
  }

  static forget() {
    write(null);
  }
}

// Storage may be forbidden: then a reload begins a new session.
/** @param {Partial<Resumable> | null} parts */
function write(parts) {
  try {
    if (parts) sessionStorage.setItem(KEY, JSON.stringify(parts));
    else sessionStorage.removeItem(KEY);
  } catch {}
}

/** @returns {Resumable | null} */
function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  } catch {
    return null;
  }
}
