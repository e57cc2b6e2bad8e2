// Makes pictures of pages small: a PNG with at most 256 colours, those that most of its points have, and the nearest of them for
// all others. Pages have few colours; what is left out are shades at the edges of letters.
//
// Source: the PNG specification, third edition (chunks, filters, colour types 2, 3 and 6).

import { readFileSync, writeFileSync } from "node:fs";
import { crc32, deflateSync, inflateSync } from "node:zlib";

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const MOST_COLOURS = 256;
const CHANNELS = { 2: 3, 6: 4 };

function* chunksOf(file) {
  for (let at = SIGNATURE.length; at < file.length; ) {
    const length = file.readUInt32BE(at);
    yield { type: file.toString("latin1", at + 4, at + 8), data: file.subarray(at + 8, at + 8 + length) };
    at += length + 12;
  }
}

function paeth(left, up, corner) {
  const [toLeft, toUp, toCorner] = [left, up, corner].map((value) => Math.abs(left + up - corner - value));
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}

/** Takes the filter off each line, in place of the bytes. */
function unfilter(bytes, lineLength, lines, channels) {
  const out = Buffer.alloc(lineLength * lines);
  for (let line = 0; line < lines; line++) {
    const filter = bytes[line * (lineLength + 1)];
    for (let at = 0; at < lineLength; at++) {
      const here = line * lineLength + at;
      const left = at >= channels ? out[here - channels] : 0;
      const up = line ? out[here - lineLength] : 0;
      const corner = line && at >= channels ? out[here - lineLength - channels] : 0;
      const guess = [0, left, up, (left + up) >> 1, filter === 4 ? paeth(left, up, corner) : 0][filter];
      out[here] = bytes[line * (lineLength + 1) + 1 + at] + guess;
    }
  }
  return out;
}

/** The most frequent colours, and for every colour the place of the nearest of them. */
function chooseColours(points) {
  const counts = new Map();
  for (const colour of points) counts.set(colour, (counts.get(colour) ?? 0) + 1);
  const chosen = [...counts].sort((a, b) => b[1] - a[1]).slice(0, MOST_COLOURS).map(([colour]) => colour);
  const parts = (colour) => [colour >> 16, (colour >> 8) & 255, colour & 255];
  const known = chosen.map(parts);
  const distance = (a, b) => (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2;
  const nearest = new Map(chosen.map((colour, place) => [colour, place]));
  for (const colour of counts.keys()) {
    if (nearest.has(colour)) continue;
    const distances = known.map((other) => distance(parts(colour), other));
    nearest.set(colour, distances.indexOf(Math.min(...distances)));
  }
  return { known, nearest };
}

function chunk(type, data) {
  const named = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(named));
  return Buffer.concat([length, named, sum]);
}

/** Writes the picture anew, smaller. */
export function shrink(path) {
  const chunks = [...chunksOf(readFileSync(path))];
  const head = Buffer.from(chunks[0].data);
  const [width, height, channels] = [head.readUInt32BE(0), head.readUInt32BE(4), CHANNELS[head[9]]];
  const packed = inflateSync(Buffer.concat(chunks.filter(({ type }) => type === "IDAT").map(({ data }) => data)));
  const bytes = unfilter(packed, width * channels, height, channels);
  const points = new Uint32Array(width * height);
  for (let at = 0; at < points.length; at++) {
    const from = at * channels;
    points[at] = (bytes[from] << 16) | (bytes[from + 1] << 8) | bytes[from + 2];
  }
  const { known, nearest } = chooseColours(points);
  const lines = Buffer.alloc((width + 1) * height);
  points.forEach((colour, at) => {
    lines[Math.floor(at / width) * (width + 1) + 1 + (at % width)] = nearest.get(colour);
  });
  head[8] = 8;
  head[9] = 3;
  const parts = [chunk("IHDR", head), chunk("PLTE", Buffer.from(known.flat())), chunk("IDAT", deflateSync(lines, { level: 9 })), chunk("IEND", Buffer.alloc(0))];
  writeFileSync(path, Buffer.concat([SIGNATURE, ...parts]));
}
