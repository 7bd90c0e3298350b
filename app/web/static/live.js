// Progress of unfinished jobs. The server ends each stream at once, and the browser connects again after two seconds.

const list = document.querySelector("[data-events]");
let [refreshed, shown] = [performance.now(), -1];
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
  if (hasChanged && job.finished) location.reload(); // the page now has the result and other buttons
  else if (place === list && job.done !== shown) refresh(job.done);
}

// Replace the pages of an unfinished job by those of the server, at most every four seconds.
async function refresh(done) {
  if (performance.now() < refreshed + 4000) return;
  [refreshed, shown] = [performance.now(), done];
  const fresh = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html");
  const replacement = fresh.getElementById("pages-of-job");
  if (replacement) document.getElementById("pages-of-job")?.replaceWith(replacement);
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

if (list && list.dataset.finished === "0") {
  const source = new EventSource(list.dataset.events);
  source.addEventListener("job", (event) => show(JSON.parse(event.data)));
  addEventListener("pagehide", () => source.close());
}
