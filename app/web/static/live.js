// Progress of unfinished jobs. The server ends each stream at once, and the browser connects again after two seconds.

const list = document.querySelector("[data-events]");
let [refreshed, shown, source] = [performance.now(), -1, null];
const seen = new Map(); // job ID → the first count of its stage, and when it was seen

function show(job) {
  const place = list.dataset.job === job.job_id ? list : list.querySelector(`[data-job="${job.job_id}"]`);
  if (!place) return;
  const fill = (name, text) => place.querySelectorAll(`[data-live="${name}"]`).forEach((each) => (each.textContent = text));
  const state = place.querySelector(".state");
  const hasChanged = !state.classList.contains(job.state);
  state.className = `state ${job.state}`;
  fill("state", job.state_name);
  fill("summary", job.summary);
  fill("count", `${job.done} / ${job.total || "?"}`);
  fill("rate", describeRate(job));
  const bar = place.querySelector("progress");
  if (bar) {
    bar.max = job.total || 1;
    bar.value = job.done;
  }
  if (place !== list) {
    // No reload: it would empty the form of this page.
    if (job.finished) place.querySelector(".progress")?.remove();
    if (!list.querySelector("progress")) source.close();
  } else if (hasChanged && job.finished) location.reload(); // the page now has the result and other buttons
  else if (job.done !== shown) refresh(job.done);
}

// Replace the pages of an unfinished job by those of the server, at most every four seconds, and not while an element in them has the focus.
async function refresh(done) {
  const hasFocus = () => document.getElementById("pages-of-job")?.contains(document.activeElement);
  if (performance.now() < refreshed + 4000 || hasFocus()) return;
  [refreshed, shown] = [performance.now(), done];
  const fresh = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html");
  const replacement = fresh.getElementById("pages-of-job");
  if (!replacement || hasFocus()) return;
  const slider = document.querySelector("#pages-of-job .threshold");
  if (slider) replacement.querySelector(".threshold")?.replaceWith(slider); // it keeps its value
  document.getElementById("pages-of-job")?.replaceWith(replacement);
  document.dispatchEvent(new Event("refreshed"));
}

function describeRate(job) {
  const key = `${job.job_id} ${job.state}`;
  if (!seen.has(key)) seen.set(key, { done: job.done, at: performance.now() });
  const { done, at } = seen.get(key);
  const rate = (job.done - done) / ((performance.now() - at) / 1000);
  if (!(rate > 0) || !job.total) return "";
  const left = Math.round((job.total - job.done) / rate);
  const time = left < 100 ? `${left} s` : `${Math.ceil(left / 60)} min`;
  return `· ${rate.toFixed(1)}/s · ${time}`;
}

function follow() {
  source = new EventSource(list.dataset.events);
  source.addEventListener("job", (event) => show(JSON.parse(event.data)));
  // The browser does not connect again after another answer than 200, such as that of a proxy during a restart.
  source.addEventListener("error", () => source.readyState === EventSource.CLOSED && setTimeout(follow, 10_000));
}

if (list && list.dataset.finished === "0") {
  follow();
  addEventListener("pagehide", () => source.close());
}
