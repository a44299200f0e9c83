// The form builder: adding, removing and moving questions without a round trip.

const list = document.querySelector("[data-questions]");
const blank = document.getElementById("blank-question");
const WITH_CHOICES = ["single", "several"];

const number = () => {
  [...list.children].forEach((question, index) => {
    question.querySelector("[data-number]").textContent = new Intl.NumberFormat(document.documentElement.lang).format(index + 1);
    // The order of the fields is the order of the questions; names carry only a group.
    for (const element of question.querySelectorAll("[name]")) element.name = element.name.replace(/^q\d+_/, `q${index}_`);
    for (const element of question.querySelectorAll("[id]")) element.id = element.id.replace(/^q\d+_/, `q${index}_`);
    for (const element of question.querySelectorAll("[for]")) element.htmlFor = element.htmlFor.replace(/^q\d+_/, `q${index}_`);
  });
};

const showChoices = (question) => {
  question.querySelector("[data-choices]").hidden = !WITH_CHOICES.includes(question.querySelector("select").value);
};

list.addEventListener("change", (event) => {
  if (event.target.matches("select")) showChoices(event.target.closest("fieldset"));
});
list.addEventListener("click", (event) => {
  const act = event.target.closest("[data-act]")?.dataset.act;
  const question = event.target.closest("fieldset");
  if (!act || !question) return;
  if (act === "remove") {
    (question.nextElementSibling ?? question.previousElementSibling)?.querySelector("input, textarea")?.focus();
    question.remove();
  }
  if (act === "up" && question.previousElementSibling) question.previousElementSibling.before(question);
  if (act === "down" && question.nextElementSibling) question.nextElementSibling.after(question);
  if (act !== "remove") event.target.closest("[data-act]").focus();
  number();
});
document.querySelector("[data-add-question]").addEventListener("click", () => {
  list.append(blank.content.cloneNode(true));
  number();
  const question = list.lastElementChild;
  showChoices(question);
  question.querySelector("input").focus();
});

for (const question of [...list.children]) {
  // The blank ones are for pages without scripts.
  if (question.dataset.blank && list.children.length > 1) question.remove();
  else showChoices(question);
}
number();
