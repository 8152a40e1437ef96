// Jobs of all kinds: how far, what failed and why, and before and after.
import { get, may, send, url } from './api.js';
import { askToken, guard, h, number, say, signed, table, when } from './ui.js';

const WORKS = ['running', 'starting'];
const done = (run) => ['done', 'skipped', 'absent', 'failed'].reduce((sum, name) => sum + (run.counts[name] ?? 0), 0);

function bar(run) {
  const planned = run.counts.planned ?? 0;
  const part = planned ? Math.round(100 * done(run) / planned) : 0;
  const inner = h('i', {});
  inner.style.setProperty('--part', `${part}%`);
  return h('div', { class: 'row small' }, h('div', { class: 'bar', role: 'progressbar', 'aria-label': 'Finished items', 'aria-valuenow': part, 'aria-valuemin': 0, 'aria-valuemax': 100 }, inner), `${done(run)}/${planned}`, run.counts.failed ? h('span', { class: 'bad' }, `${run.counts.failed} failed`) : null, run.left ? h('span', { class: 'soft' }, `about ${Math.round(run.left)} s left`) : null);
}

export async function jobs({ params }) {
  const start = Number(params.get('start') ?? 0);
  const kind = params.get('kind');
  const place = h('div', {});
  let timer;
  const draw = async () => {
    const found = await get('/jobs', { start, kind, limit: 50 });
    place.replaceChildren(found.total ? table(['Run', 'Kind', 'Status', 'Items', 'What', 'Started'], found.items.map((run) => [h('a', { href: `/jobs/${run.id}`, class: 'mono' }, run.id.slice(0, 12)), run.kind, h('span', { class: run.status === 'failed' ? 'bad' : run.status === 'done' ? 'good' : '' }, run.status), bar(run), [run.spec.model, run.spec.dataset].filter(Boolean).join(', '), when(run.started_at)])) : h('p', { class: 'panel' }, 'Nothing was run yet. Apply a direction under ', h('a', { href: '/directions' }, 'Try it'), ', or use ', h('code', {}, 'loco discover'), '.'),
      found.total > 50 ? h('p', { class: 'row' }, start ? h('a', { href: `/jobs?start=${Math.max(0, start - 50)}` }, 'Later') : null, start + 50 < found.total ? h('a', { href: `/jobs?start=${start + 50}` }, 'Earlier') : null) : '');
    timer = setTimeout(guard(draw), found.items.some((run) => WORKS.includes(run.status)) ? 2000 : 10000);
  };
  await draw();
  return { content: [h('h1', {}, 'Jobs'), place], close: () => clearTimeout(timer) };
}

export async function job({ parts: [id], refresh }) {
  const place = h('div', {});
  const sheet = h('div', {});
  let timer;
  let closed = false;
  let pictured = false;
  const draw = async () => {
    const run = await get(`/jobs/${encodeURIComponent(id)}`);
    if (run.status === 'starting') {
      place.replaceChildren(h('p', { class: 'panel' }, 'The job is starting: its first server may take half a minute.'));
      if (!closed) timer = setTimeout(guard(draw), 1500);
      return;
    }
    const works = WORKS.includes(run.status);
    const log = await get(`/jobs/${run.id}/log`);
    const cancel = guard(async () => { if (!may('run')) await askToken(); await send('POST', `/jobs/${run.id}/cancel`); say('It ends after the items that it is at'); });
    place.replaceChildren(h('div', { class: 'panel' }, h('div', { class: 'row' }, h('strong', { id: 'status', class: run.status === 'failed' ? 'bad' : run.status === 'done' ? 'good' : '' }, run.status), bar(run), works ? h('button', { class: 'end', onclick: cancel }, 'Cancel') : null, run.prefect_page ? h('a', { href: run.prefect_page, target: '_blank', rel: 'noreferrer' }, 'Its run in Prefect') : null),
      run.provenance.error ? h('p', { class: 'bad' }, run.provenance.error) : null,
      h('p', { class: 'soft small' }, `started ${when(run.started_at)}${run.finished_at ? `, finished ${when(run.finished_at)}` : ''} (UTC)`),
      h('details', {}, h('summary', {}, 'What was asked'), table(['', ''], Object.entries(run.spec).filter(([, value]) => value !== null && value !== '' && !(Array.isArray(value) && !value.length)).map(([key, value]) => [key, typeof value === 'object' ? JSON.stringify(value) : String(value)]))),
      h('details', {}, h('summary', {}, `Log (${log.lines.length} lines)`), h('pre', { tabindex: 0 }, log.lines.join('\n')))),
    run.failures.length ? h('section', { class: 'panel', 'aria-label': 'Failed' }, h('h2', {}, `${run.failures.length} failed`), table(['', 'Item', 'Cause'], run.failures.map((one) => [thumbnail(one), one.output ?? one.image ?? '?', one.cause ?? (one.failures ?? []).map(([roi, cause]) => `${roi ? `${roi}: ` : ''}${cause}`).join('; ')]))) : '',
    run.absent.length ? h('details', { class: 'panel' }, h('summary', {}, `${run.absent.length} without the region`), table(['', 'Image', 'Why'], run.absent.map((one) => [thumbnail(one), one.image, one.absent.map(([, why]) => why).join('; ')]))) : '');
    if (run.kind === 'apply' && !works && !pictured) { pictured = true; await drawSheet(sheet, run); }
    if (works && !closed) timer = setTimeout(guard(draw), 1500);
  };
  await draw();
  return { content: [h('h1', {}, 'Job ', h('span', { class: 'mono small soft' }, id)), place, sheet], title: 'Job', close: () => { closed = true; clearTimeout(timer); }, refresh };
}

/** The image that an item is of, small; a word where it cannot be shown, which may be why it failed. */
function thumbnail(one) {
  if (!one.image_id) return h('span', { class: 'soft small' }, 'no picture');
  const picture = h('img', { src: url(`/images/${one.image_id}.png`, { side: 96 }), alt: one.image, loading: 'lazy', width: 48, height: 48 });
  picture.addEventListener('error', () => picture.replaceWith(h('span', { class: 'soft small' }, 'cannot be shown')));
  return picture;
}

async function drawSheet(place, run, start = 0) {
  const found = await get(`/jobs/${run.id}/sheet`, { start, limit: 12 });
  if (!found.total) return;
  const shot = (src, caption) => h('figure', {}, h('img', { src, alt: caption, loading: 'lazy', width: 128, height: 128 }), h('figcaption', {}, caption));
  place.append(...(start ? [] : [h('h2', {}, `Before and after (${found.total} images)`)]), ...found.items.map((one) => h('div', { class: 'panel' }, h('h3', {}, one.image.name), h('div', { class: 'strip-row', tabindex: 0, role: 'group', 'aria-label': one.image.name },
    shot(url(`/images/${one.image.id}.png`, { side: 192 }), 'input'), one.outputs.map((output) => shot(url(`/jobs/${run.id}/outputs/${output.id}.png`), output.directions.map(([, strength]) => signed(strength)).join(', ') || number(0)))))));
  if (start + 12 < found.total) {
    const more = h('button', { onclick: guard(async () => { more.remove(); await drawSheet(place, run, start + 12); }) }, 'More');
    place.append(more);
  }
}
