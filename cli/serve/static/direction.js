// One direction: how it looks, on whom it works, what was measured, who said what, what is like it, where it was used.
import { get } from './api.js';
import { addTo } from './lists.js';
import { called, card, decide, guard, h, names, number, strip, table, when } from './ui.js';
import { arrows } from './tryit.js';
import './mixer.js';

const SVG = 'http://www.w3.org/2000/svg';

export async function direction({ parts: [name], go, refresh }) {
  const one = await get(`/directions/${encodeURIComponent(name)}`);
  const path = `/directions/${one.id}`;
  const [figures, history, uses] = await Promise.all([get('/figures'), get(`${path}/history`), get(`${path}/uses`)]);
  const act = guard(async (action) => { if (await decide(action, [one.id])) await refresh(); });
  const mixer = document.createElement('loco-mixer');
  const whole = one.scope === 'dataset';
  const own = whole || one.datasets.length > 0;
  const answers = h('div', {}, h('p', { class: 'soft' }, 'Looking at the images of the dataset…'));
  const like = h('div', {}, h('p', { class: 'soft' }, 'Looking for the like…'));
  const title = called(one);
  const found = one.scope === 'dataset' ? `of ${one.images} images of ${one.image_name}` : `found on ${one.image_name}`;
  const content = [
    h('h1', {}, title, ' ', h('span', { class: 'soft small mono' }, one.id)),
    h('p', { class: 'soft' }, `${one.roi} (${number(100 * one.roi_area)} % of the image), ${found}, number ${one.index + 1}, t ${number(one.t)} (training step ${one.step}), `, one.model_name ?? one.model.slice(0, 12)),
    names(one),
    h('div', { class: 'row' }, h('button', { class: 'main', onclick: () => act('label') }, 'Label (l)'), h('button', { onclick: () => act('accept') }, 'Accept (a)'),
      h('button', { onclick: () => act(one.rejected ? 'restore' : 'reject') }, one.rejected ? 'Restore (r)' : 'Reject (r)'), h('button', { onclick: () => act('alias') }, 'Alias'),
      one.labels.length ? h('button', { onclick: () => act('unlabel') }, 'Take a label away') : null,
      h('button', { onclick: guard(() => addTo([one.id])) }, 'Add to a list'), h('a', { class: 'button', href: `/try?direction=${one.id}` }, 'Try it (t)'),
      h('a', { class: 'button', href: `/api/v1${path}/vector`, download: `${one.id}.safetensors` }, 'Vector')),
    h('section', { class: 'panel', 'aria-label': 'Picture' }, strip(one)),
    own ? h('section', { class: 'panel', 'aria-label': 'Strength' }, h('h2', {}, 'Strength ', h('span', { class: 'soft small' }, 'keys ← →')), mixer) : null,
    h('section', { class: 'panel', 'aria-label': 'Responses' }, h('h2', {}, 'How the images respond'), answers),
    h('div', { class: 'two-up' },
      h('section', { class: 'panel', 'aria-label': 'Evidence' }, h('h2', {}, 'Evidence'), table(['Figure', 'Value', 'What it means'], figures.filter((figure) => figure.name in one && (one[figure.name] !== null || figure.places.includes('list'))).map((figure) => [h('strong', {}, figure.title), number(one[figure.name]), [figure.meaning, figure.better === 'more' || figure.better === 'less' ? h('span', { class: 'soft' }, ` (${figure.better} is better)`) : null]]))),
      h('div', {},
        h('section', { class: 'panel', 'aria-label': 'History' }, h('h2', {}, 'Names and history'), history.length ? table(['When', 'Who', 'What'], history.toReversed().map((event) => [when(event.at), h('span', {}, event.who, event.author_kind === 'scorer' ? h('span', { class: 'soft' }, ` (${[event.author_kind, event.method, event.score === null || event.score === undefined ? null : number(event.score)].filter(Boolean).join(', ')})`) : null), `${event.action}${event.text ? `: ${event.text}` : ''}`])) : h('p', { class: 'soft' }, 'Nobody said anything of it yet.')),
        h('section', { class: 'panel', 'aria-label': 'Uses' }, h('h2', {}, 'Where it was applied'), uses.length ? table(['Run', 'Status', 'Started'], uses.map((run) => [h('a', { href: `/jobs/${run.id}`, class: 'mono' }, run.id.slice(0, 12)), run.status, when(run.started_at)])) : h('p', { class: 'soft' }, 'Nowhere yet.')),
        h('section', { class: 'panel', 'aria-label': 'Provenance' }, h('h2', {}, 'How it was found'), table(['', ''], [
          ['Method', one.method], ['Recipe', Object.entries(one.recipe).filter(([, value]) => value !== null && value !== '').map(([key, value]) => `${key} ${value}`).join(', ')],
          ['Region', `${one.roi} from ${one.roi_source ?? '–'}`], ['Cost', `${one.basis_products} Jacobian products, ${one.basis_evaluations} evaluations (whole basis)`],
          ['Refused beside it', one.refused.map((each) => `${each.roi} ${each.index}: ${each.cause}`).join('; ') || 'none'], ['Where', Object.entries(one.provenance).map(([key, value]) => `${key} ${value}`).join(', ')], ['Basis', h('code', {}, one.basis_id)]])))),
    h('section', { class: 'panel', 'aria-label': 'Similar' }, h('h2', {}, 'Most like it'), like),
  ];
  const shown = () => {
    if (own && !whole) guard(() => mixer.setup({ image: one.image_id, parts: [{ id: one.id }] }))();
    guard(async () => {
      const near = await get(`${path}/similar`, { limit: 100 });
      if (!near.length) { like.replaceChildren(h('p', { class: 'soft' }, 'Nothing else of its shape is here.')); return; }
      const groups = [['here', near.slice(0, 6)], ['under another noise level', near.filter((each) => each.t !== one.t).slice(0, 3)],
        ['in another region', near.filter((each) => each.roi !== one.roi).slice(0, 3)], ['of another model', near.filter((each) => each.model !== one.model).slice(0, 3)]];
      like.replaceChildren(...groups.filter(([, several]) => several.length).flatMap(([where, several]) => [h('h3', {}, where), h('ul', { class: 'cards' }, several.map((each) => card(each, figures, { note: `cosine ${number(each.cosine)}` })))]));
    })();
    get(`${path}/responses`).then((told) => { drawResponses(answers, told, one); if (whole) guard(() => mixer.setup({ image: told.picked[0].id, parts: [{ id: one.id }] }))(); }).catch((error) => answers.replaceChildren(h('p', { class: 'soft' }, error.message)));
  };
  return { content: content.filter(Boolean), title, shown, key: (event) => {
    const acts = { l: 'label', a: 'accept', r: one.rejected ? 'restore' : 'reject' };
    if (acts[event.key]) { act(acts[event.key]); return true; }
    if (event.key === 't') { go(`/try?direction=${one.id}`); return true; }
    return own && arrows(event, mixer);
  } };
}

function drawResponses(place, told, one) {
  const titles = ['responds most', 'middling', 'hardly'];
  place.replaceChildren(h('p', { class: 'soft' }, `Change of one unit of strength on the first ${told.images.length} images of ${told.dataset}.`), histogram(told.images.map((each) => each.gain)),
    h('div', { class: 'two-up' }, told.picked.map((each, n) => h('div', {}, h('h3', {}, titles[told.picked.length === 3 ? n : n * 2] ?? ''), h('p', { class: 'soft small' }, `${each.name}, gain ${number(each.gain)} `, h('a', { href: `/try?direction=${one.id}&image=${each.id}` }, 'try it there')), strip(one, each.id)))));
}

function histogram(values, bins = 16) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const counts = new Array(bins).fill(0);
  for (const value of values) counts[Math.min(bins - 1, Math.floor((value - low) / ((high - low) || 1) * bins))] += 1;
  const most = Math.max(...counts);
  const svg = document.createElementNS(SVG, 'svg');
  const put = (tag, attributes, text) => { const part = document.createElementNS(SVG, tag); for (const [key, value] of Object.entries(attributes)) part.setAttribute(key, value); if (text) part.textContent = text; svg.append(part); };
  svg.setAttribute('viewBox', '0 0 640 110'); svg.setAttribute('class', 'chart'); svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', `Histogram of gain over ${values.length} images, from ${number(low)} to ${number(high)}`);
  counts.forEach((count, n) => put('rect', { x: n * 40 + 2, width: 36, y: 85 - 78 * count / most, height: 78 * count / most, rx: 2 }));
  put('line', { x1: 0, x2: 640, y1: 85.5, y2: 85.5 });
  put('text', { x: 2, y: 102 }, number(low)); put('text', { x: 320, y: 102, 'text-anchor': 'middle' }, 'gain'); put('text', { x: 638, y: 102, 'text-anchor': 'end' }, number(high));
  return svg;
}
