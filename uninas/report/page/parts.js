// What the page carries: libraries and data, packed. All files of this folder are one module, in the order of page.py.

const byId = (id) => document.getElementById(id);

/** The text of a part, unpacked. */
async function part(name) {
  const bytes = Uint8Array.from(atob(byId(`part-${name}`).textContent), (char) => char.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

/** The address under which a packed script can be loaded. */
async function scriptAddress(name) {
  return URL.createObjectURL(new Blob([await part(name)], { type: "text/javascript" }));
}

/** Load a script that puts its names into `window`. */
async function loadScript(name) {
  const script = document.createElement("script");
  script.src = await scriptAddress(name);
  await new Promise((done, failed) => {
    script.onload = done;
    script.onerror = () => failed(new Error(`cannot load ${name}`));
    document.head.append(script);
  });
}

/** An element: `element("a", {href: "#1"}, "text", ...children)`. Text never becomes markup. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const theme = () => (document.documentElement.classList.contains("dark") ? "dark" : "light");

/** Copy text, and say so on the button that was pressed. */
async function copy(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select it and press Ctrl+C";
  }
  setTimeout(() => {
    button.textContent = before;
  }, 1500);
}
