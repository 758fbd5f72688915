// What changed between two texts, whatever numbers equal blocks have got: Body3 that was Body2 is no change.

const MOST_COMPARED = 4e6; // lines times lines

/** The blocks of a text: name -> its lines. */
function blocksOf(lines) {
  const found = new Map();
  let inside = null;
  for (const line of lines) {
    const name = /^block (\w+)/.exec(line)?.[1];
    if (name) found.set((inside = name), []);
    if (inside) found.get(inside).push(line);
    if (line === "}" || (name && line.trimEnd().endsWith("}"))) inside = null;
  }
  return found;
}

/** What each block says, with what the blocks that it uses say in the place of their names. */
function meanings(blocks) {
  const known = new Map();
  const meaning = (name) => {
    if (!known.has(name)) {
      known.set(name, ""); // a block that uses itself would have no end
      const text = blocks.get(name).join("\n");
      known.set(
        name,
        text.replace(/\w+/g, (word) => (word === name ? "\u0001" : blocks.has(word) ? `\u0002${meaning(word)}\u0003` : word)),
      );
    }
    return known.get(name);
  };
  for (const name of blocks.keys()) meaning(name);
  return known;
}

/** The lines of a text in which blocks that stand in another text, too, have the names that they have there. */
function namedAs(before, after) {
  const [old, now] = [meanings(blocksOf(before)), meanings(blocksOf(after))];
  const free = new Map();
  for (const [name, said] of old) free.set(said, [...(free.get(said) ?? []), name]);
  const names = new Map();
  for (const keep of [true, false]) {
    for (const [name, said] of now) {
      const some = free.get(said) ?? [];
      if (names.has(name) || !some.length || (keep && !some.includes(name))) continue;
      names.set(name, keep ? name : some[0]);
      free.set(said, some.filter((one) => one !== names.get(name)));
    }
  }
  const taken = new Set(names.values()); // a block that has changed keeps its name, if no other has it now
  for (const name of now.keys()) {
    if (names.has(name)) continue;
    let fresh = name;
    for (let number = 2; taken.has(fresh); number += 1) fresh = `${name}_${number}`;
    taken.add(fresh);
    names.set(name, fresh);
  }
  return after.map((line) => line.replace(/\w+/g, (word) => names.get(word) ?? word));
}

/** How to make one list of lines from another: [[place, how many go, lines that come], ...]. */
function changesOf(before, after) {
  let head = 0;
  while (head < before.length && head < after.length && before[head] === after[head]) head += 1;
  let tail = 0;
  while (
    tail < before.length - head &&
    tail < after.length - head &&
    before[before.length - 1 - tail] === after[after.length - 1 - tail]
  )
    tail += 1;
  const [old, now] = [before.slice(head, before.length - tail), after.slice(head, after.length - tail)];
  if (!old.length && !now.length) return [];
  if (old.length * now.length > MOST_COMPARED) return [[head, old.length, now]];
  // Lengths of the longest common rows of lines from each place on.
  const wide = now.length + 1;
  const common = new Uint32Array((old.length + 1) * wide);
  for (let one = old.length - 1; one >= 0; one -= 1)
    for (let other = now.length - 1; other >= 0; other -= 1)
      common[one * wide + other] =
        old[one] === now[other]
          ? common[(one + 1) * wide + other + 1] + 1
          : Math.max(common[(one + 1) * wide + other], common[one * wide + other + 1]);
  const found = [];
  let [one, other] = [0, 0];
  while (one < old.length || other < now.length) {
    if (one < old.length && other < now.length && old[one] === now[other]) {
      [one, other] = [one + 1, other + 1];
      continue;
    }
    const [from, start] = [one, other];
    while ((one < old.length || other < now.length) && !(one < old.length && other < now.length && old[one] === now[other])) {
      if (other >= now.length || (one < old.length && common[(one + 1) * wide + other] >= common[one * wide + other + 1])) one += 1;
      else other += 1;
    }
    found.push([head + from, one - from, now.slice(start, other)]);
  }
  return found;
}
