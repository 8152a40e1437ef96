// Directions as cards: filters with counts, any order, any position; the whole state is the URL.
import { get, may } from './api.js';
import { card, decide, guard, h, number, say } from './ui.js';
import { addTo, keepView } from './lists.js';
import { keys } from './atlas.js';

const PAGE = 48;
const MANY = ['roi'];
const TITLES = { scope: 'Of', model: 'Model', dataset: 'Dataset', roi: 'Region', t: 'Noise level', label: 'Label', status: 'Status', converged: 'Converged', method: 'Method' };

export async function grid({ params, go, refresh }) {
  const asked = {};
  for (const name of new Set(params.keys())) asked[name] = MANY.includes(name) ? params.getAll(name) : params.get(name);
  const start = Number(asked.start ?? 0);
  const { start: _, limit: __, cursor: ___, ...filters } = asked;
  const [page, { facets, ranges }, figures, datasets] = await Promise.all([
    get('/directions', { ...filters, start, limit: PAGE }), get('/facets', withoutSort(filters)), get('/figures'), get('/datasets')]);
  const picked = new Map();
  const to = (changes) => {
    const next = new URLSearchParams();
    for (const [name, value] of Object.entries({ ...filters, ...changes })) {
      if (value === null || value === undefined || value === '' || (Array.isArray(value) && !value.length)) continue;
      for (const one of Array.isArray(value) ? value : [value]) next.append(name, one);
    }
    const text = next.toString();
    return go(`/directions${text ? `?${text}` : ''}`);
  };

  const bar = h('div', { class: 'picked', hidden: true });
  const select = (one, on) => { if (on) picked.set(one.id, one); else picked.delete(one.id); drawBar(); };
  const act = guard(async (action, ids = [...picked.keys()]) => { if (ids.length && await decide(action, ids)) await refresh(); });
  function drawBar() {
    bar.hidden = !picked.size;
    const ids = [...picked.keys()];
    bar.replaceChildren(h('div', { class: 'row' }, h('strong', {}, `${picked.size} selected`),
      h('button', { class: 'main', onclick: () => act('label') }, 'Label'), h('button', { onclick: () => act('accept') }, 'Accept'),
      h('button', { onclick: () => act('reject') }, 'Reject'), h('button', { onclick: () => act('restore') }, 'Restore'),
      h('button', { onclick: guard(() => addTo(ids)) }, 'Add to a list'),
      picked.size <= 3 ? h('a', { class: 'button', href: `/try?${ids.map((id) => `direction=${id}`).join('&')}` }, picked.size > 1 ? 'Compose' : 'Try it') : null,
      h('button', { class: 'end', onclick: () => { picked.clear(); document.querySelectorAll('.card input').forEach((box) => { box.checked = false; }); drawBar(); } }, 'None')));
  }

  const sort = h('select', { 'aria-label': 'Order', onchange: (event) => to({ sort: event.target.value || null }) },
    [['', 'datasets first, then gain'], ...figures.filter((one) => one.kind === 'number').flatMap((one) => (one.better === 'less' ? [[one.name, `${one.title}, least first`], [`-${one.name}`, `${one.title}, greatest first`]] : [[`-${one.name}`, `${one.title}, greatest first`], [one.name, `${one.title}, least first`]])), ['-found_at', 'latest first'], ['t', 'noise level']]
      .map(([value, title]) => h('option', { value, selected: (filters.sort ?? '') === value || null }, title)));
  const position = h('input', { type: 'number', min: 1, max: Math.max(1, page.total), value: Math.min(start + 1, Math.max(1, page.total)), 'aria-label': 'Position of the first', onchange: (event) => to({ start: Math.max(0, Math.min(page.total - 1, Number(event.target.value) - 1)) || null }) });
  const last = Math.min(start + page.items.length, page.total);
  const pager = h('div', { class: 'row' },
    h('button', { disabled: start === 0 || null, onclick: () => to({ start: Math.max(0, start - PAGE) || null }) }, '← Previous'),
    h('span', { class: 'soft' }, page.total ? `${start + 1}–${last} of ${page.total.toLocaleString('en')}` : 'none'),
    h('button', { disabled: last >= page.total || null, onclick: () => to({ start: start + PAGE }) }, 'Next →'),
    h('label', { class: 'row small soft' }, 'from ', position));

  const content = [h('h1', {}, 'Directions'),
    h('div', { class: 'split' }, filterPanel(filters, facets, ranges, datasets, to),
      h('div', {}, h('div', { class: 'row' }, h('strong', {}, `${page.total.toLocaleString('en')} directions`), sort,
        h('span', { class: 'row end' }, h('a', { class: 'button', href: `/map${location.search}` }, 'As a map'), h('button', { onclick: guard(() => keepView(location.search)) }, 'Keep this view'))),
      chips(filters, to),
      page.items.length ? h('ul', { class: 'cards' }, page.items.map((one) => card(one, figures, { select }))) : h('p', { class: 'panel' }, 'No direction passes these filters. ', h('a', { href: '/directions' }, 'Show all'), '.'),
      pager, bar))];
  const onKey = keys(go, (key, id) => {
    const one = page.items.find((each) => each.id === id);
    if (key === 'x') { const box = document.querySelector('.card[data-current] input'); box.checked = !box.checked; select(one, box.checked); return true; }
    if (key === 'l') { act('label', picked.size ? undefined : [id]); return true; }
    if (key === 'a') { act('accept', picked.size ? undefined : [id]); return true; }
    if (key === 'r') { act(one.rejected ? 'restore' : 'reject', picked.size ? undefined : [id]); return true; }
    return false;
  });
  if (!may('label') && params.has('status')) say('Sign in to restore what was rejected');
  return { content, key: onKey };
}

const withoutSort = ({ sort, ...others }) => others;

function chips(filters, to) {
  const shown = Object.entries(filters).filter(([name]) => name !== 'sort').flatMap(([name, value]) => (Array.isArray(value) ? value.map((one) => [name, one]) : [[name, value]]));
  if (!shown.length) return null;
  return h('p', { class: 'row' }, shown.map(([name, value]) => h('button', { class: 'quiet', title: 'Take this filter away', onclick: () => to({ [name]: Array.isArray(filters[name]) ? filters[name].filter((one) => one !== value) : null }) }, `${TITLES[name] ?? name.replace('_', ' ')}: ${name === 'model' ? value.slice(0, 12) : value} ✕`)), h('a', { href: '/directions' }, 'all'));
}

function filterPanel(filters, facets, ranges, datasets, to) {
  const choice = (name, { value, count, title }) => {
    const many = MANY.includes(name);
    const text = String(value);
    const on = many ? (filters[name] ?? []).includes(text) : filters[name] === text;
    const box = h('input', { type: 'checkbox', onchange: () => to({ [name]: many ? (on ? filters[name].filter((one) => one !== text) : [...(filters[name] ?? []), text]) : on ? null : text }) });
    box.checked = on;
    return h('label', { class: 'choice' }, box, h('span', {}, title ?? (typeof value === 'boolean' ? (value ? 'yes' : 'no') : typeof value === 'number' ? number(value) : text)), h('span', { class: 'n' }, count === undefined ? '' : count.toLocaleString('en')));
  };
  const field = (name, values) => (values?.length ? h('fieldset', {}, h('legend', {}, TITLES[name]), values.map((one) => choice(name, one))) : null);
  const amount = (name, title, range) => h('label', { class: 'field' }, `${title}${range ? ` (${number(range[0])}–${number(range[1])})` : ''}`, h('input', { type: 'number', step: 'any', value: filters[name] ?? '', onchange: (event) => to({ [name]: event.target.value || null }) }));
  const panel = h('details', { class: 'filters', open: matchMedia('(min-width: 761px)').matches || null }, h('summary', {}, 'Filters'),
    field('scope', facets.scope), field('model', facets.model),
    field('dataset', datasets.map((one) => ({ value: one.name }))), field('roi', facets.roi),
    field('label', facets.label?.slice(0, 40)), field('t', facets.t), field('status', facets.status),
    h('fieldset', {}, h('legend', {}, 'Figures'), h('div', { class: 'two' }, amount('min_gain', 'Gain, least', ranges.gain), amount('max_leakage', 'Leakage, most', ranges.leakage), amount('min_retained', 'Retained, least', ranges.retained), amount('min_transfer', 'Transfer, least', ranges.transfer)),
      h('label', { class: 'field' }, 'Found since', h('input', { type: 'date', value: filters.since?.slice(0, 10) ?? '', onchange: (event) => to({ since: event.target.value || null }) }))),
    h('fieldset', {}, h('legend', {}, 'Any condition'), h('label', { class: 'field' }, 'Such as transfer_cosine > 0.9 and gain > 1', h('input', { type: 'text', maxlength: 2000, value: filters.where ?? '', onchange: (event) => to({ where: event.target.value || null }) }))),
    field('converged', facets.converged), field('method', facets.method));
  return panel;
}
