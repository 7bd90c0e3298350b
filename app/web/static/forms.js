// Disable the buttons of a form that is sent, so that a double click does not start two jobs.

const FORMS = 'form[method="post"]';

function setDisabled(form, isDisabled) {
  form.querySelectorAll('button:not([type="button"])').forEach((button) => (button.disabled = isDisabled));
}

// At this event, the browser has read the fields and the value of the pressed button. The person may stop the sending.
addEventListener("formdata", (event) => {
  if (!event.target.matches(FORMS)) return;
  setDisabled(event.target, true);
  setTimeout(setDisabled, 5000, event.target, false);
});

// A browser may show the page again as it was left.
addEventListener("pageshow", () => document.querySelectorAll(FORMS).forEach((form) => setDisabled(form, false)));
