// Lists of directions with notes, and kept views.
import { get, may, send } from './api.js';
import { ask, askToken, card, copy, guard, h, say, when } from './ui.js';

export async function lists() {
  const found = await get('/lists');
  const kind = (one) => (one.query ? h('a', { href: `/directions?${one.query}` }, one.name) : h('a', { href: `/lists/${one.name}` }, one.name));
  const row = (one) => h('li', { class: 'card' }, h('h3', {}, kind(one)), h('p', { class: 'soft small' }, `${one.query ? 'a view' : `${one.ids.length} directions`} · ${one.who} · ${when(one.at)}`), one.note ? h('p', {}, one.note) : null,
    h('button', { class: 'quiet', onclick: guard(async (event) => { if (!may('label')) await askToken(); await send('DELETE', `/lists/${one.name}`); event.target.closest('li').remove(); say(`${one.name} is gone`); }) }, 'Delete'));
  return { content: [h('h1', {}, 'Lists and views'), found.length ? h('ul', { class: 'cards' }, found.map(row)) : h('p', { class: 'panel' }, 'None yet. In the grid, select directions and add them to a list, or keep a view.')] };
}

export async function list({ parts: [name], refresh }) {
  const [one, figures] = await Promise.all([get(`/lists/${encodeURIComponent(name)}`), get('/figures')]);
  const take = (id) => guard(async () => { if (!may('label')) await askToken(); await send('PUT', `/lists/${one.name}`, { note: one.note, ids: one.ids.filter((each) => each !== id), notes: one.notes }); refresh(); });
  const items = one.items.map((each) => { const made = card(each, figures, { note: one.notes[each.id] }); made.append(h('div', { class: 'row' }, h('button', { class: 'quiet', onclick: guard(async () => {
    const said = await ask('Note', [{ name: 'text', label: 'What is to be said of it here', value: one.notes[each.id] ?? '', optional: true }]);
    if (said) { if (!may('label')) await askToken(); await send('PUT', `/lists/${one.name}`, { note: one.note, ids: one.ids, notes: { ...one.notes, [each.id]: said.text } }); refresh(); } }) }, 'Note'), h('button', { class: 'quiet', onclick: take(each.id) }, 'Take out'))); return made; });
  const command = `loco apply --list ${one.name} --dataset NAME --out edited`;
  return { title: one.name, content: [h('h1', {}, one.name), h('p', { class: 'soft' }, `${one.ids.length} directions · ${one.who} · ${when(one.at)}`), one.note ? h('p', {}, one.note) : null,
    h('div', { class: 'row' }, h('button', { onclick: () => copy(command, 'The command') }, 'Copy the command'), h('code', {}, command)), h('ul', { class: 'cards' }, items), one.gone.length ? h('p', { class: 'soft' }, `${one.gone.length} of them are no longer in the catalogue.`) : null].filter(Boolean) };
}

export async function addTo(ids) {
  if (!may('label')) { await askToken(); if (!may('label')) return; }
  const known = (await get('/lists')).filter((one) => !one.query);
  const found = await ask('Add to a list', [{ name: 'name', label: `Its name${known.length ? ` (there are ${known.slice(0, 6).map((one) => one.name).join(', ')})` : ''}`, most: 100 }], 'Add');
  if (!found) return;
  await send('POST', `/lists/${encodeURIComponent(found.name)}/items`, { ids });
  say(`${ids.length} in ${found.name}`);
}

export async function keepView(search) {
  if (!may('label')) { await askToken(); if (!may('label')) return; }
  const found = await ask('Keep this view', [{ name: 'name', label: 'Its name', most: 100 }], 'Keep');
  if (!found) return;
  await send('PUT', `/lists/${encodeURIComponent(found.name)}`, { note: '', ids: [], notes: {}, query: search.replace(/^\?/, '') });
  say(`The view is kept as ${found.name}`);
}
