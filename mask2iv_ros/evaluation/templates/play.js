// Only what is seen plays: a report may hold a hundred films.
if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) isIntersecting ? target.play().catch(() => {}) : target.pause();
  });
  for (const film of document.querySelectorAll("video")) watch.observe(film);
}
