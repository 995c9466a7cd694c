// Copying takes exact amounts, whatever is on the screen.

function exactText(node) {
  if (node.nodeType === Node.TEXT_NODE) return node.data;
  if (node.nodeName === "DATA") return node.value;
  const inner = [...node.childNodes].map(exactText).join("");
  if (["TD", "TH"].includes(node.nodeName)) return `${inner}\t`;
  return ["TR", "P", "DIV", "LI", "DD"].includes(node.nodeName) ? `${inner.trimEnd()}\n` : inner;
}

export function copyExactly() {
  document.addEventListener("copy", (event) => {
    const selection = document.getSelection();
    if (!selection || selection.isCollapsed || event.target.closest?.("input")) return;
    const range = selection.getRangeAt(0);
    const around = range.commonAncestorContainer;
    const within = (around.nodeType === Node.TEXT_NODE ? around.parentElement : around).closest("data.amount");
    const copied = within ? within.value : exactText(range.cloneContents());
    event.clipboardData.setData("text/plain", copied);
    event.preventDefault();
  });
}
