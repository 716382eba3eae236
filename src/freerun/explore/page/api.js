// Questions to the server. An answer is a stream of lines: how far it is, then what it came to.
export class Refusal extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

export class Gone extends Error {}

const RETRIES = 6;

export async function about() {
  let response;
  try {
    response = await fetch("api/about");
  } catch {
    throw new Gone("the server does not answer");
  }
  if (!response.ok) throw new Refusal(response.status, (await response.text()).trim());
  return response.json();
}

export async function ask(question, body, { signal, onProgress } = {}) {
  for (let attempt = 0; ; attempt++) {
    const response = await send(question, body, signal);
    if (response.ok) return read(response, onProgress, signal);
    const words = await response.text();
    if (response.status !== 429 || attempt >= RETRIES) throw new Refusal(response.status, spoken(words));
    onProgress?.({ busy: true });
    await pause(400 * (attempt + 1), signal);
  }
}

function spoken(words) {
  try {
    return JSON.parse(words).error;
  } catch {
    return words.trim();
  }
}

async function send(question, body, signal) {
  const headers = { "content-type": "application/json" };
  try {
    return await fetch(`api/${question}`, { method: "POST", headers, body: JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Gone("the server does not answer");
  }
}

async function read(response, onProgress, signal) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new Gone("the server stopped in the middle of an answer");
    }
    if (part.done) throw new Gone("the server stopped in the middle of an answer");
    const lines = (held + part.value).split("\n");
    held = lines.pop();
    for (const line of lines) {
      const told = JSON.parse(line);
      if (told.progress) onProgress?.(told.progress);
      else if ("error" in told) throw new Refusal(200, told.error);
      else return told.answer;
    }
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("cancelled", "AbortError"));
    }, { once: true });
  });
}

// At most one question of a kind at a time: a new one takes the place of the one before.
export class Line {
  #running = null;

  async ask(question, body, options = {}) {
    this.cancel();
    const mine = (this.#running = new AbortController());
    try {
      return await ask(question, body, { ...options, signal: mine.signal });
    } finally {
      if (this.#running === mine) this.#running = null;
    }
  }

  cancel() {
    this.#running?.abort();
    this.#running = null;
  }
}
