/** Keep a text in the browser's storage; false where it has no room (or may not be written). */
export function keep(storage: Storage, key: string, text: string): boolean {
  try {
    storage.setItem(key, text);
    return true;
  } catch {
    return false;
  }
}
