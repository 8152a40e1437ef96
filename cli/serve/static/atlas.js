// What each model knows about each dataset, region by region: directions of the whole dataset first.
import { get } from './api.js';
import { card, h } from './ui.js';

const EACH = 4;

export async function atlas({ go }) {
  const [about, datasets, figures] = await Promise.all([get('/'), get('/datasets'), get('/figures')]);
  const groups = [];
  for (const dataset of datasets) {
    const { facets } = await get('/facets', { dataset: dataset.name });
    for (const model of facets.model ?? []) groups.push({ dataset: dataset.name, images: dataset.images, model });
  }
  if (!groups.length) {
    const { facets } = await get('/facets');
    for (const model of facets.model ?? []) groups.push({ dataset: null, model });
  }
  const content = [h('h1', {}, 'What the models know'),
    h('p', { class: 'soft' }, `${about.counts.directions ?? 0} directions in ${about.counts.bases ?? 0} bases, ${about.counts.images ?? 0} images, ${about.counts.edits ?? 0} edited images.`)];
  if (!groups.length) content.push(h('div', { class: 'panel' }, h('p', {}, 'Nothing was found yet. ', h('code', {}, 'loco demo'), ' fills a catalogue in a minute; ', h('code', {}, 'loco discover'), ' works on images of your own.')));
  for (const group of groups) content.push(await section(group, figures));
  return { content, key: keys(go) };
}

async function section({ dataset, images, model }, figures) {
  const base = { ...(dataset ? { dataset } : {}), model: model.value };
  const { facets } = await get('/facets', base);
  const rows = await Promise.all(facets.roi.slice(0, 24).map(async (roi) => {
    const found = await get('/directions', { ...base, roi: roi.value, limit: EACH });
    const all = `/directions?${new URLSearchParams({ ...base, roi: roi.value })}`;
    return h('div', { class: 'atlas-row' },
      h('div', {}, h('h3', {}, roi.value), h('a', { href: all, class: 'small' }, `all ${found.total}`)),
      h('ul', { class: 'cards' }, found.items.map((one) => card(one, figures))));
  }));
  const title = dataset ? `${dataset} · ${model.title ?? model.value.slice(0, 12)}` : model.title ?? model.value.slice(0, 12);
  return h('section', { class: 'panel', 'aria-label': title }, h('h2', {}, title, ' ', h('span', { class: 'soft small' }, `${images ? `${images} images, ` : ''}${model.count} directions`)), rows);
}

// j and k walk over the cards of a page, Enter opens one.
export function keys(go, act = () => false) {
  let at = -1;
  return (event) => {
    const cards = [...document.querySelectorAll('.card[data-id]')];
    if (event.key === 'j' || event.key === 'k') {
      at = Math.max(0, Math.min(cards.length - 1, at + (event.key === 'j' ? 1 : -1)));
      for (const one of cards) one.removeAttribute('data-current');
      const current = cards[at];
      if (!current) return false;
      current.setAttribute('data-current', '');
      current.scrollIntoView({ block: 'nearest' });
      current.querySelector('a')?.focus({ preventScroll: true });
      return true;
    }
    const id = document.querySelector('.card[data-current]')?.dataset.id;
    if (!id) return false;
    if (event.key === 't') { go(`/try?direction=${id}`); return true; }
    return act(event.key, id);
  };
}
