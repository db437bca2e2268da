/** Keep a text in the browser's storage; false where it has no room (or may not be written). */
export function keep(storage: Storage, key: string, text: string): boolean {
  try {
    storage.setItem(key, text);
    return true;
  } catch {
    return false;
  }
}

/**
 * Things that never change, in the order in which they came, each under a key of its own in the browser's storage: what tabs
 * write at the same moment, in processes of their own, overwrites nothing of one another.
 */
export class Shelf<Thing> {
  /** by key; null: no text of ours */
  private readonly parsed = new Map<string, Thing | null>();
  /** by key, what the storage has no room for: only this page knows of it */
  private readonly unkept = new Map<string, Thing>();

  constructor(private readonly prefix: string) {}

  /** Some of it would be lost with this page. */
  get full(): boolean {
    return this.unkept.size > 0;
  }

  all(): Thing[] {
    return this.keys().map((key) => this.at(key)!);
  }

  get(id: string): Thing | undefined {
    const key = this.keyOf(id);
    return key === undefined ? undefined : this.at(key)!;
  }

  /** Put something behind all that is there; what is there under its name stays. */
  add(id: string, thing: Thing): void {
    if (this.keyOf(id) !== undefined) return;
    const last = this.keys().at(-1);
    const place = last === undefined ? 0 : parseInt(last.slice(this.prefix.length), 10) + 1;
    this.unkept.set(`${this.prefix}${String(place).padStart(12, "0")}:${id}`, thing);
    this.keepAll();
  }

  remove(id: string): void {
    const key = this.keyOf(id);
    if (key === undefined) return;
    localStorage.removeItem(key);
    this.parsed.delete(key);
    this.unkept.delete(key);
    this.keepAll();
  }

  /** Remove the first ones, until not more than `most` are left. */
  removeFirst(most: number): void {
    const keys = this.keys();
    for (const key of keys.slice(0, Math.max(0, keys.length - most))) this.remove(idOf(key));
  }

  /** What another tab put here or took away, by an event of the storage; undefined: nothing of this. */
  changed({ key, newValue, oldValue }: StorageEvent): Thing | undefined {
    if (!key?.startsWith(this.prefix)) return undefined;
    if (newValue === null) this.parsed.delete(key);
    return parse<Thing>(newValue ?? oldValue) ?? undefined;
  }

  private keepAll(): void {
    for (const [key, thing] of this.unkept) if (keep(localStorage, key, JSON.stringify(thing))) this.unkept.delete(key);
  }

  private keys(): string[] {
    const kept = Object.keys(localStorage).filter((key) => key.startsWith(this.prefix) && this.at(key) !== null);
    return [...kept, ...this.unkept.keys()].sort();
  }

  private keyOf(id: string): string | undefined {
    return this.keys().find((key) => idOf(key) === id);
  }

  private at(key: string): Thing | null {
    const unkept = this.unkept.get(key);
    if (unkept !== undefined) return unkept;
    let thing = this.parsed.get(key);
    if (thing === undefined) this.parsed.set(key, (thing = parse<Thing>(localStorage.getItem(key))));
    return thing;
  }
}

const idOf = (key: string) => key.slice(key.lastIndexOf(":") + 1);

function parse<Thing>(text: string | null): Thing | null {
  try {
    return JSON.parse(text ?? "null") as Thing | null;
  } catch {
    return null;
  }
}
