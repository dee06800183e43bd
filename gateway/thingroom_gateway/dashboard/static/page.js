// Keeps a page up to date: ages of values, the pairing countdown, pieces that the gateway sends, pages that refresh.
// Everything can be read without it.

const AGE_MS = 10_000;
const POLL_MS = 30_000;
const main = () => document.getElementById("content");

function age(ms) {
  const seconds = Math.round((Date.now() - ms) / 1000);
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${Math.floor(seconds / 10) * 10} s ago`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ago`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ago`;
  return `${Math.floor(hours / 24)} days ago`;
}

function showAges(root = document) {
  for (const time of root.querySelectorAll("time[data-ms]")) {
    time.title ||= time.textContent;
    const text = age(Number(time.dataset.ms));
    if (time.textContent !== text) time.textContent = text;
  }
}

function showCountdown() {
  for (const time of document.querySelectorAll("time[data-until]")) {
    const left = Math.round((Number(time.dataset.until) - Date.now()) / 1000);
    if (left < 0) return void loadAnew();
    time.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  }
}

function replacePiece({ id, html }) {
  const old = document.getElementById(id);
  if (!old) return;
  const holder = document.createElement("template");
  holder.innerHTML = html;
  const fresh = holder.content.firstElementChild;
  const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  showAges(holder.content);
  old.replaceWith(fresh);
  if (focused) fresh.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  if (fresh.dataset.states) showStates(JSON.parse(fresh.dataset.states));
  document.dispatchEvent(new CustomEvent("thingroom:piece", { detail: id }));
}

// Which of a switch's buttons is pressed is what the device says, not what was clicked.
function showStates(states) {
  for (const form of document.querySelectorAll("form.control")) {
    const state = states[form.elements.actuator.value];
    for (const button of form.querySelectorAll("button[aria-pressed]")) {
      button.setAttribute("aria-pressed", String({ on: "true", off: "false" }[button.value] === state));
    }
  }
}

// Somebody who is typing is not disturbed.
const isBusy = () => main().contains(document.activeElement) && /^(INPUT|SELECT)$/.test(document.activeElement.tagName);

let loading = false;
let leaving = false;
async function loadAnew() {
  if (loading || leaving || document.hidden || isBusy()) return;
  loading = true;
  try {
    const answer = await fetch(location.href, { headers: { "Thingroom-Refresh": "1" } });
    if (answer.redirected) return void location.reload();
    if (!answer.ok) return void tell("The gateway does not answer at the moment.");
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("content");
    if (leaving || isBusy()) return;
    const said = main().querySelector(":scope > .said[role=status]");
    if (said) fresh.prepend(said);
    const open = [...main().querySelectorAll("details")].map((one) => one.open);
    fresh.querySelectorAll("details").forEach((one, index) => (one.open = open[index] ?? false));
    main().replaceChildren(...fresh.childNodes);
    showAges();
    document.dispatchEvent(new CustomEvent("thingroom:page"));
    tell("");
  } catch {
    tell("The gateway does not answer at the moment.");
  } finally {
    loading = false;
  }
}

function tell(text) {
  const line = document.getElementById("line");
  if (!line) return;
  line.textContent = text;
  line.hidden = !text;
}

function follow(url) {
  const stream = new EventSource(url);
  let lost = false;
  stream.onopen = () => {
    if (lost && !("keep" in main().dataset)) loadAnew();
    lost = false;
    tell("");
    document.documentElement.dataset.live = "on";
  };
  stream.addEventListener("piece", (event) => replacePiece(JSON.parse(event.data)));
  stream.addEventListener("stale", () => loadAnew());
  stream.onerror = () => {
    lost = true;
    document.documentElement.dataset.live = "off";
    tell("The line to the gateway is down; what you see may be old.");
    // The browser tries again by itself, unless the gateway said no.
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => (loadAnew(), follow(url)), POLL_MS);
  };
  addEventListener("pagehide", () => stream.close(), { once: true });
}

addEventListener("pageshow", (event) => event.persisted && location.reload());
document.addEventListener("submit", (event) => {
  // A second click must not send a second command.
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
  leaving ||= event.target.method === "post" && !event.defaultPrevented;
});
showAges();
showCountdown();
setInterval(showAges, AGE_MS);
setInterval(showCountdown, 1000);
if (main().dataset.live) follow(main().dataset.live);
if (main().dataset.refresh) setInterval(loadAnew, Number(main().dataset.refresh) * 1000);
