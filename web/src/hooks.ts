import { useCallback, useEffect, useRef, useState } from "react";
import { call, Expired, type Obj } from "./api";

export type Loaded<T> = { data: T | undefined; error: string; reload: () => void };

/**
 * Loads something now, again when `key` changes, and every `seconds` while the page is seen.
 * What was there stays until the answer is: rows keep a question that was asked of them.
 */
export function useLoad<T>(load: () => Promise<T>, key: string, seconds = 0): Loaded<T> {
  const [data, setData] = useState<T>();
  const [error, setError] = useState("");
  const [turn, setTurn] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  const loaded = useRef(key);
  useEffect(() => {
    let over = false;
    let timer = 0;
    const run = async () => {
      if (!document.hidden) {
        try {
          const found = await latest.current();
          if (over) return;
          loaded.current = key;
          setData(found);
          setError("");
        } catch (problem) {
          if (over || problem instanceof Expired) return;
          if (loaded.current !== key) setData(undefined);
          setError(problem instanceof Error ? problem.message : String(problem));
        }
      }
      if (!over && seconds) timer = window.setTimeout(run, seconds * 1000);
    };
    void run();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [key, seconds, turn]);
  const reload = useCallback(() => setTurn((n) => n + 1), []);
  return { data, error, reload };
}

/** The page's address: #/channels?channel=a */
export function useRoute(): { page: string; query: URLSearchParams } {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const changed = () => setHash(location.hash);
    window.addEventListener("hashchange", changed);
    return () => window.removeEventListener("hashchange", changed);
  }, []);
  const [page, query] = hash.replace(/^#\/?/, "").split("?");
  return { page: page || "status", query: new URLSearchParams(query ?? "") };
}

export function address(page: string, query: Record<string, string> = {}): string {
  const text = new URLSearchParams(query).toString();
  return `#/${page}${text ? `?${text}` : ""}`;
}

/** A value that follows another one once that has stood still. */
export function useSettled<T>(value: T, ms = 300): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), ms);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return settled;
}

/** Where the page of a list begins that is shown: at the start again as soon as `asked` is another. */
export function useCursor(asked: unknown): [cursor: string, goTo: (cursor: string) => void] {
  const key = JSON.stringify(asked);
  const [place, setPlace] = useState({ key, cursor: "" });
  return [place.key === key ? place.cursor : "", (cursor) => setPlace({ key, cursor })];
}

/** Commands that change something: what was `done` last, or why it `failed`. */
export function useAct(reload: () => void) {
  const [done, setDone] = useState("");
  const [failed, setFailed] = useState("");
  const act = (what: string, method: string, params: Obj) => {
    setDone("");
    setFailed("");
    call(method, params).then(
      () => {
        setDone(what);
        reload();
      },
      (problem: unknown) => setFailed(problem instanceof Error ? problem.message : String(problem)),
    );
  };
  return { act, done, failed };
}
