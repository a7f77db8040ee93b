import "uplot/dist/uPlot.min.css";
import { useEffect, useRef } from "react";
import UPlot from "uplot";

/** A line over time; it grows with its place. */
export function Chart({ times, values, label }: { times: number[]; values: number[]; label: string }) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<UPlot>(null);
  useEffect(() => {
    const box = place.current;
    if (!box) return;
    const line = "#1098ad";
    const axis = { stroke: "#868e96", grid: { stroke: "rgba(134,142,150,.2)", width: 1 }, ticks: { show: false } };
    const made = new UPlot(
      {
        width: box.clientWidth,
        height: 150,
        padding: [8, 28, 6, 0],
        cursor: { y: false },
        legend: { show: false },
        scales: { y: { range: (_plot, _low, high) => [0, Math.max(high * 1.1, 1)] } },
        axes: [
          { ...axis, space: 70, size: 26, values: "{HH}:{mm}:{ss}" },
          { ...axis, size: 44, values: (_plot, ticks) => ticks.map(short) },
        ],
        series: [{}, { label, stroke: line, fill: "rgba(16,152,173,.15)", width: 2, points: { show: false } }],
      },
      [[], []],
      box,
    );
    plot.current = made;
    const watch = new ResizeObserver(() => made.setSize({ width: box.clientWidth, height: 150 }));
    watch.observe(box);
    return () => {
      watch.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [label]);
  useEffect(() => plot.current?.setData([times, values]), [times, values]);
  const last = values.at(-1);
  return <div ref={place} role="img" aria-label={`${label}: ${last === undefined ? "–" : short(last)}`} />;
}

export function short(value: number): string {
  if (value >= 1e6) return `${+(value / 1e6).toFixed(1)}M`;
  if (value >= 1e4) return `${+(value / 1e3).toFixed(1)}k`;
  return String(+value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0));
}
