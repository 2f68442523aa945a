// Before the first paint, so that nothing flashes: the theme, the language and its direction. The only classic script.
(() => {
  const root = document.documentElement;
  const stored = (name) => {
    try {
      return localStorage.getItem(name);
    } catch {
      return null; // Storage may be forbidden: then the browser's wishes count.
    }
  };
  const theme = stored('callspool-theme');
  if (theme === 'light' || theme === 'dark') root.dataset.theme = theme;
  const chosen = stored('callspool-language');
  const wished = (navigator.languages || [navigator.language]).map((tag) => tag.slice(0, 2).replace('iw', 'he'));
  const language = ['en', 'he'].includes(chosen) ? chosen : wished.find((tag) => tag === 'en' || tag === 'he') || 'en';
  root.lang = language;
  root.dir = language === 'he' ? 'rtl' : 'ltr';
})();
