// Progress of unfinished jobs. The server ends each stream at once, and the browser connects again after two seconds.

const list = document.querySelector("[data-events]");
const title = document.title;
let [refreshed, shown, source] = [performance.now(), -1, null];
// The pages as the server has sent them, without the changes of threshold.js.
let known = document.getElementById("pages-of-job")?.cloneNode(true);
const seen = new Map(); // job ID → the first count of its stage, and when it was seen

function show(job) {
  const place = document.querySelector(`[data-job="${job.job_id}"]`);
  if (!place) {
    if (list.dataset.job) location.reload(); // the job has become a collection, and has new parts
    return;
  }
  const fill = (name, text) => place.querySelectorAll(`[data-live="${name}"]`).forEach((each) => (each.textContent = text));
  const state = place.querySelector(".state");
  const hasChanged = !state.classList.contains(job.state);
  const count = `${job.done} / ${job.total || "?"}`;
  state.className = `state ${job.state}`;
  fill("state", job.state_name);
  fill("summary", job.summary);
  fill("count", count);
  fill("rate", describeRate(job));
  const bar = place.querySelector("progress");
  if (bar) {
    bar.max = job.total || 1;
    bar.value = job.done;
  }
  if (place !== list) {
    // No reload: it would empty the form of this page.
    if (job.finished) place.querySelector(".progress")?.remove();
    if (!document.querySelector("progress")) source.close();
    return;
  }
  document.title = job.finished ? title : `${count} · ${title}`;
  if (hasChanged && job.finished) location.reload(); // the page now has the result and other buttons
  else if (job.done !== shown) refresh(job.done);
}

// Show the pages of an unfinished job as the server has them now, at most every four seconds.
async function refresh(done) {
  const place = document.getElementById("pages-of-job");
  if (!place || performance.now() < refreshed + 4000) return;
  [refreshed, shown] = [performance.now(), done];
  const answer = await (await fetch(location.href)).text();
  const fresh = new DOMParser().parseFromString(answer, "text/html").getElementById("pages-of-job");
  if (!fresh) return;
  update(place, known, fresh);
  known = fresh;
  document.dispatchEvent(new Event("refreshed"));
}

// Replace only the items that have changed. The others keep their images, and the slider its value and focus.
function update(place, before, after) {
  const [items, old, fresh] = [place, before, after].map((each) => [...each.children]);
  for (let i = 0; i < Math.max(old.length, fresh.length); i++) {
    if (!old[i]) place.append(fresh[i].cloneNode(true));
    else if (!fresh[i]) items[i].remove();
    else if (old[i].isEqualNode(fresh[i])) continue;
    else if ([old[i], fresh[i]].every((each) => each.matches("ol"))) update(items[i], old[i], fresh[i]);
    else if (![old[i], fresh[i]].every((each) => each.matches(".threshold"))) replace(items[i], fresh[i].cloneNode(true));
  }
}

function replace(item, fresh) {
  const focus = [...item.querySelectorAll("a")].indexOf(document.activeElement);
  item.replaceWith(fresh);
  if (focus >= 0) fresh.querySelectorAll("a")[focus]?.focus({ preventScroll: true });
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
  source.addEventListener("error", () => source.readyState === EventSource.CLOSED && recover());
}

async function recover() {
  const answer = await fetch(list.dataset.events, { redirect: "manual" }).catch(() => null);
  if (answer?.type === "opaqueredirect") location.reload(); // the session has ended: show the sign-in page
  else setTimeout(follow, 10_000);
}

if (list && list.dataset.finished === "0") {
  follow();
  addEventListener("pagehide", () => source.close());
}
