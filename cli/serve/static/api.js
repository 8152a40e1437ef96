// The API and nothing else: every fetch of the page goes through here.
export const session = { name: null, role: null, csrf: null };

export class Problem extends Error {
  constructor(status, detail) { super(detail); this.status = status; }
}

export function query(params) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(params ?? {})) {
    if (value === null || value === undefined || value === '') continue;
    for (const one of Array.isArray(value) ? value : [value]) found.append(name, one);
  }
  const text = found.toString();
  return text ? `?${text}` : '';
}

export const url = (path, params) => `/api/v1${path}${query(params)}`;

async function checked(answer) {
  if (answer.ok) return answer;
  let detail = `${answer.status} ${answer.statusText}`;
  try { detail = (await answer.json()).detail ?? detail; } catch { /* no JSON: its status says it */ }
  throw new Problem(answer.status, detail);
}

export async function get(path, params, signal) {
  return (await checked(await fetch(url(path, params), { signal, credentials: 'same-origin' }))).json();
}

export async function send(method, path, body, headers = {}) {
  const plain = body instanceof Blob;
  const told = { ...headers, ...(session.csrf ? { 'X-Loco-CSRF': session.csrf } : {}) };
  if (body !== undefined && !plain) told['Content-Type'] = 'application/json';
  if (plain) told['Content-Type'] = 'application/octet-stream';
  const answer = await fetch(url(path), {
    method, headers: told, credentials: 'same-origin', body: body === undefined ? undefined : plain ? body : JSON.stringify(body),
  });
  return (await checked(answer)).json();
}

export async function whoami() { return Object.assign(session, await get('/session')); }
export async function signIn(token) { return Object.assign(session, await send('POST', '/session', { token })); }
export const may = (role) => ['read', 'label', 'run'].indexOf(session.role) >= ['read', 'label', 'run'].indexOf(role) && session.csrf !== null;

// Pictures come a few at a time, so that a page of them leaves room for what somebody waits for at a slider.
const AT_ONCE = 3;
const waiting = [];
let loading = 0;

export function picture(path, params, signal) {
  return new Promise((resolve, reject) => {
    waiting.push({ path, params, signal, resolve, reject });
    pump();
  });
}

function pump() {
  while (loading < AT_ONCE && waiting.length) {
    const one = waiting.shift();
    if (one.signal?.aborted) { one.reject(new DOMException('gone', 'AbortError')); continue; }
    loading += 1;
    fetched(one).then(one.resolve, one.reject).finally(() => { loading -= 1; pump(); });
  }
}

async function fetched({ path, params, signal }) {
  for (let attempt = 0; ; attempt += 1) {
    const answer = await fetch(url(path, params), { signal, credentials: 'same-origin' });
    if (answer.status === 503 && attempt < 20) { await new Promise((done) => setTimeout(done, 1500)); continue; }
    const whole = await checked(answer);
    return { src: URL.createObjectURL(await whole.blob()), trouble: whole.headers.get('X-Loco-Trouble') ?? '' };
  }
}
