// Numbers as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const minus = (text) => text.replace(/^-/, "−");

/** 26871124 -> "26.9 M" */
function short(value) {
  if (value === null || value === undefined) return "–";
  for (const [unit, size] of [
    ["T", 1e12],
    ["G", 1e9],
    ["M", 1e6],
    ["k", 1e3],
  ]) {
    if (Math.abs(value) >= size) return minus(`${(value / size).toPrecision(3)} ${unit}`);
  }
  return number(value);
}

/** A number in full: digits in groups for whole ones, six significant digits for others. */
function number(value) {
  if (value === null || value === undefined) return "–";
  if (Number.isInteger(value)) return minus(whole.format(value));
  return minus(Math.abs(value) >= 1e6 ? whole.format(value) : String(Number(value.toPrecision(6))));
}

/** 3723 -> "1 h 2 min" */
function duration(seconds) {
  if (seconds === null || !Number.isFinite(seconds)) return "–";
  if (seconds < 60) return `${Number(seconds.toPrecision(2))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.round(hours / 24)} days`;
}

const plural = (count, word) => `${whole.format(count)} ${word}${count === 1 ? "" : "s"}`;
