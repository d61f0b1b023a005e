/**
 * A layered layout, left to right: every arrow points to a later column.
 *
 * Columns are longest paths; an arrow that spans several columns gets a waypoint in each, so that it runs
 * between the boxes and not through them. Order within a column follows the neighbours' mean position.
 *
 * @typedef {{id: string, width: number, height: number}} Box
 * @typedef {{from: string, to: string}} Arrow
 * @typedef {{id: string, x: number, y: number, width: number, height: number}} Place  x, y: the centre
 * @typedef {{width: number, height: number, places: Map<string, Place>, routes: Map<Arrow, Place[]>}} Layout
 * @typedef {Place & {column: number, before: Cell[], after: Cell[]}} Cell
 */

const COLUMN_GAP = 46;
const ROW_GAP = 26;
const MARGIN = 28;
const SWEEPS = 12;
// Rows settle slowly; a large graph may stay a little crooked rather than keep the reader waiting.
const ROW_STEPS = 60_000;
const MOST_ROW_SWEEPS = 80;

/**
 * @param {Box[]} boxes
 * @param {Arrow[]} arrows
 * @returns {Layout}
 */
export function layOut(boxes, arrows) {
  const forward = withoutCycles(boxes, arrows);
  const columnOf = longestPaths(boxes, forward);
  const cells = new Map(boxes.map((box) => [box.id, cell(box, columnOf.get(box.id) ?? 0)]));
  const routes = new Map(arrows.map((arrow) => [arrow, route(arrow, cells)]));
  const columns = inColumns([...cells.values(), ...[...routes.values()].flatMap((path) => path.slice(1, -1))]);
  orderRows(columns);
  const width = placeColumns(columns);
  const height = placeRows(columns);
  return { width, height, places: cells, routes };
}

/** @param {Box} box @param {number} column @returns {Cell} */
function cell(box, column) {
  return { ...box, column, x: 0, y: 0, before: [], after: [] };
}

/**
 * The arrows with those turned round that would close a cycle.
 * @param {Box[]} boxes @param {Arrow[]} arrows @returns {Arrow[]}
 */
function withoutCycles(boxes, arrows) {
  const next = groupBy(arrows, (arrow) => arrow.from);
  /** @type {Map<string, "open" | "done">} */
  const seen = new Map();
  /** @type {Set<Arrow>} */
  const backward = new Set();
  // From the sources first: what is turned round is then the way back, not the way there.
  const entered = new Set(arrows.map((arrow) => arrow.to));
  const starts = [...boxes.filter((box) => !entered.has(box.id)), ...boxes];
  for (const { id } of starts) {
    if (seen.has(id)) continue;
    // A stack of our own: a chain of thousands of jobs must not overflow the browser's.
    const stack = [{ id, rest: [...(next.get(id) ?? [])] }];
    seen.set(id, "open");
    while (stack.length) {
      const top = stack[stack.length - 1];
      const arrow = top.rest.shift();
      if (!arrow) {
        seen.set(top.id, "done");
        stack.pop();
      } else if (seen.get(arrow.to) === "open") {
        backward.add(arrow);
      } else if (!seen.has(arrow.to)) {
        seen.set(arrow.to, "open");
        stack.push({ id: arrow.to, rest: [...(next.get(arrow.to) ?? [])] });
      }
    }
  }
  return arrows
    .filter((arrow) => arrow.from !== arrow.to)
    .map((arrow) => (backward.has(arrow) ? { from: arrow.to, to: arrow.from } : arrow));
}

/** @param {Box[]} boxes @param {Arrow[]} arrows @returns {Map<string, number>} */
function longestPaths(boxes, arrows) {
  const next = groupBy(arrows, (arrow) => arrow.from);
  const waiting = new Map(boxes.map((box) => [box.id, 0]));
  for (const { to } of arrows) waiting.set(to, (waiting.get(to) ?? 0) + 1);
  const column = new Map(boxes.map((box) => [box.id, 0]));
  const ready = boxes.map((box) => box.id).filter((id) => waiting.get(id) === 0);
  while (ready.length) {
    const id = /** @type {string} */ (ready.pop());
    for (const { to } of next.get(id) ?? []) {
      column.set(to, Math.max(column.get(to) ?? 0, (column.get(id) ?? 0) + 1));
      waiting.set(to, (waiting.get(to) ?? 0) - 1);
      if (waiting.get(to) === 0) ready.push(to);
    }
  }
  return column;
}

/**
 * The cells an arrow passes, ends included; they become each other's neighbours.
 * @param {Arrow} arrow @param {Map<string, Cell>} cells @returns {Cell[]}
 */
function route(arrow, cells) {
  const start = /** @type {Cell} */ (cells.get(arrow.from));
  const end = /** @type {Cell} */ (cells.get(arrow.to));
  const step = Math.sign(end.column - start.column);
  const path = [start];
  for (let column = start.column + step; step && column !== end.column; column += step) {
    path.push(cell({ id: "", width: 0, height: 6 }, column));
  }
  path.push(end);
  for (let index = 1; index < path.length; index += 1) {
    const [left, right] = step < 0 ? [path[index], path[index - 1]] : [path[index - 1], path[index]];
    left.after.push(right);
    right.before.push(left);
  }
  return path;
}

/** @param {Cell[]} cells @returns {Cell[][]} */
function inColumns(cells) {
  /** @type {Cell[][]} */
  const columns = [];
  for (const item of cells) (columns[item.column] ??= []).push(item);
  for (const column of columns) column.forEach((item, row) => (item.y = row));
  return columns;
}

/** Sweep right and left, sorting each column by the mean row of its neighbours. @param {Cell[][]} columns */
function orderRows(columns) {
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const isRightward = sweep % 2 === 0;
    for (const column of isRightward ? columns : [...columns].reverse()) {
      const wish = new Map(column.map((item) => [item, mean(isRightward ? item.before : item.after, item.y)]));
      column.sort((a, b) => (wish.get(a) ?? 0) - (wish.get(b) ?? 0));
      column.forEach((item, row) => (item.y = row));
    }
  }
}

/** @param {Cell[][]} columns @returns {number} the width of it all */
function placeColumns(columns) {
  let x = MARGIN;
  for (const column of columns) {
    const width = Math.max(...column.map((item) => item.width));
    for (const item of column) {
      item.x = x + width / 2;
      // A waypoint is as wide as its column: the line stays level past the boxes above and below.
      if (!item.id) item.width = width;
    }
    x += width + COLUMN_GAP;
  }
  return x - COLUMN_GAP + MARGIN;
}

/** Draw neighbours level, keeping the order and the distance. @param {Cell[][]} columns @returns {number} */
function placeRows(columns) {
  const all = columns.flat();
  const sweeps = Math.min(MOST_ROW_SWEEPS, Math.max(SWEEPS, Math.floor(ROW_STEPS / all.length)));
  for (const column of columns) spread(column, column.map((item, row) => row * 60));
  for (let sweep = 0; sweep < sweeps; sweep += 1) {
    for (const column of sweep % 2 ? [...columns].reverse() : columns) {
      spread(column, column.map((item) => mean([...item.before, ...item.after], item.y)));
    }
  }
  const top = Math.min(...all.map((item) => item.y - item.height / 2)) - MARGIN;
  for (const item of all) item.y -= top;
  return Math.max(...all.map((item) => item.y + item.height / 2)) + MARGIN;
}

/**
 * Put the cells of a column as near to their wishes as their order and size allow: cells that would overlap
 * form a block, and a block stands where its cells wish on average.
 * @param {Cell[]} column @param {number[]} wishes
 */
function spread(column, wishes) {
  /** @type {{sum: number, count: number, offsets: number[], size: number}[]} */
  const blocks = [];
  column.forEach((item, row) => {
    const half = item.height / 2;
    let block = { sum: wishes[row] - half, count: 1, offsets: [half], size: item.height + ROW_GAP };
    let above = blocks[blocks.length - 1];
    while (above && above.sum / above.count + above.size > block.sum / block.count) {
      const { size } = above;
      block = {
        sum: above.sum + block.sum - size * block.count,
        count: above.count + block.count,
        offsets: [...above.offsets, ...block.offsets.map((offset) => offset + size)],
        size: size + block.size,
      };
      blocks.pop();
      above = blocks[blocks.length - 1];
    }
    blocks.push(block);
  });
  const rows = blocks.flatMap((block) => block.offsets.map((offset) => block.sum / block.count + offset));
  column.forEach((item, row) => (item.y = rows[row]));
}

/** @param {Cell[]} cells @param {number} otherwise */
function mean(cells, otherwise) {
  return cells.length ? cells.reduce((sum, item) => sum + item.y, 0) / cells.length : otherwise;
}

/**
 * @template T
 * @param {T[]} items @param {(item: T) => string} key @returns {Map<string, T[]>}
 */
export function groupBy(items, key) {
  /** @type {Map<string, T[]>} */
  const groups = new Map();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group) group.push(item);
    else groups.set(key(item), [item]);
  }
  return groups;
}
