/* Right answers per image, packed: bits for one draw, else bytes or little-endian 16-bit numbers; zlib; base64. */

const unpacked = new Map();

/** Counts of right answers of tally `index`, image by image: {right, draws}. */
function countsOf(index) {
  if (!unpacked.has(index)) unpacked.set(index, unpack(DATA.counts[index]));
  return unpacked.get(index);
}

async function unpack({ draws, n, packed }) {
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const raw = new Uint8Array(await new Response(stream).arrayBuffer());
  const right = new Uint16Array(n);
  for (let i = 0; i < n; i++) {
    if (draws === 1) right[i] = (raw[i >> 3] >> (7 - (i & 7))) & 1;
    else if (draws < 256) right[i] = raw[i];
    else right[i] = raw[2 * i] | (raw[2 * i + 1] << 8);
  }
  return { right, draws };
}
