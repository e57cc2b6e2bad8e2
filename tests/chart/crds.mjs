// Checks objects of the Prometheus operator against its schemas: reads a JSON list of them from standard input, prints a
// JSON list of what is wrong. Called with the directory of the node modules.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const group = `${process.argv[2]}/@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/index.js`;
const { ServiceMonitor, PrometheusRule } = await import(pathToFileURL(group));
const kinds = { ServiceMonitor, PrometheusRule };
const objects = JSON.parse(readFileSync(0, "utf8"));
const faults = objects.flatMap((object) => {
  const Kind = kinds[object.kind];
  if (!Kind) return [`no schema for ${object.kind}`];
  try {
    new Kind(object).validate();
    return [];
  } catch (error) {
    return [`${object.kind} ${object.metadata.name}: ${error.message}`];
  }
});
console.log(JSON.stringify(faults));
