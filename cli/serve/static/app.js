// The shell: which view a URL is, links without reloading, keys, and who is signed in.
import { session, signIn, whoami, send } from './api.js';
import { askToken, h, say } from './ui.js';
import { atlas } from './atlas.js';
import { grid } from './grid.js';
import { direction } from './direction.js';
import { tryIt } from './tryit.js';
import { jobs, job } from './jobs.js';
import { lists, list } from './lists.js';
import { map } from './map.js';

const VIEWS = [
  [/^\/$/, 'Atlas', atlas, () => '/'],
  [/^\/directions$/, 'Directions', grid, (_, search) => `/directions${search}`],
  [/^\/directions\/([^/]+)$/, 'Direction', direction, ([id]) => `/directions/${id}`],
  [/^\/try$/, 'Try it', tryIt, () => '/previews'],
  [/^\/jobs$/, 'Jobs', jobs, () => '/jobs'],
  [/^\/jobs\/([^/]+)$/, 'Job', job, ([id]) => `/jobs/${id}`],
  [/^\/lists$/, 'Lists', lists, () => '/lists'],
  [/^\/lists\/([^/]+)$/, 'List', list, ([name]) => `/lists/${name}`],
  [/^\/map$/, 'Map', map, (_, search) => `/map${search}`],
];

const main = document.getElementById('main');
let view = {};
let turn = 0;

export function go(path, { replace = false } = {}) {
  history[replace ? 'replaceState' : 'pushState'](null, '', path);
  return show();
}

async function show() {
  const mine = ++turn;
  view.close?.();
  view = {};
  const { pathname, search } = location;
  const [pattern, title, make, twin] = VIEWS.find(([one]) => one.test(pathname)) ?? [null, 'Not found', null, () => '/'];
  const parts = pattern ? pathname.match(pattern).slice(1) : [];
  document.title = `${title} · LOCO`;
  document.getElementById('twin').href = `/api/v1${twin(parts, search)}`;
  for (const link of document.querySelectorAll('.top nav a')) {
    const here = link.pathname === pathname || (link.pathname !== '/' && pathname.startsWith(link.pathname));
    if (here) link.setAttribute('aria-current', 'page'); else link.removeAttribute('aria-current');
  }
  if (!make) { main.replaceChildren(h('h1', {}, 'Nothing is here'), h('p', {}, h('a', { href: '/' }, 'To the atlas'))); return; }
  try {
    const found = await make({ parts: parts.map(decodeURIComponent), params: new URLSearchParams(search), go, refresh: show });
    if (mine !== turn) { found.close?.(); return; }
    view = found;
    main.replaceChildren(...[found.content].flat());
    if (found.title) document.title = `${found.title} · LOCO`;
    found.shown?.();
  } catch (error) {
    if (mine !== turn || error.name === 'AbortError') return;
    main.replaceChildren(h('h1', {}, error.status === 401 ? 'Sign in' : 'This cannot be shown'), h('p', {}, error.message),
      error.status === 401 ? h('button', { class: 'main', onclick: askToken }, 'Sign in') : h('a', { href: '/' }, 'To the atlas'));
  }
}

function who() {
  const button = document.getElementById('who');
  button.textContent = session.csrf ? `${session.name} · ${session.role}` : 'Sign in';
  button.title = session.csrf ? 'Sign out' : 'A token is needed for changes';
}

document.addEventListener('click', (event) => {
  const link = event.target.closest('a');
  if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || link.target || link.hasAttribute('download')) return;
  if (link.origin !== location.origin || link.pathname.startsWith('/api/') || link.hash) return;
  event.preventDefault();
  go(link.pathname + link.search).then(() => { window.scrollTo(0, 0); main.focus({ preventScroll: true }); });
});
addEventListener('popstate', show);
document.addEventListener('signed', () => { who(); show(); });
document.getElementById('who').addEventListener('click', async () => {
  if (!session.csrf) { await askToken(); return; }
  await send('DELETE', '/session').catch(() => null);
  await whoami(); who(); say('Signed out'); show();
});
document.getElementById('search').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = document.getElementById('text').value.trim();
  go(text ? `/directions?text=${encodeURIComponent(text)}` : '/directions');
});

const KEYS = [['j / k', 'next / previous direction'], ['Enter', 'open it'], ['l', 'label'], ['a', 'accept'], ['x', 'select'], ['r', 'reject'], ['t', 'try it'], ['← / →', 'strength, where there is a slider'], ['/', 'search'], ['?', 'these keys']];
function help() {
  const dialog = h('dialog', { 'aria-label': 'Keys' }, h('h2', {}, 'Keys'), h('table', {}, h('tbody', {}, KEYS.map(([key, what]) => h('tr', {}, h('td', {}, h('kbd', {}, key)), h('td', {}, what))))),
    h('p', {}, h('button', { class: 'main', onclick: () => dialog.close() }, 'Close')));
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog); dialog.showModal();
}
document.getElementById('help').addEventListener('click', help);
document.addEventListener('keydown', (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey || document.querySelector('dialog[open]')) return;
  const typing = event.target.closest('input:not([type=checkbox]):not([type=range]), textarea, select');
  if (typing) { if (event.key === 'Escape') typing.blur(); return; }
  if (event.key === '/') { event.preventDefault(); document.getElementById('text').focus(); return; }
  if (event.key === '?') { help(); return; }
  if (view.key?.(event)) event.preventDefault();
});

(async () => {
  const token = new URLSearchParams(location.hash.slice(1)).get('token');
  if (token) {
    history.replaceState(null, '', location.pathname + location.search);
    await signIn(token).catch((error) => say(error.message, true));
  }
  await whoami().catch(() => null);
  who();
  await show();
})();

