/** Elements of the page. Text is only ever set as text: nothing here, or anywhere on the page, parses HTML. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * A new element. `attributes` whose value is null or false are left out; those that begin with `--` become custom
 * properties, which a policy against inline styles allows. Children are elements or text.
 */
export function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for a drawing. */
export function shape(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** The page's element with this id. */
export function byId(id) {
  return document.getElementById(id);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("--")) node.style.setProperty(name, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
