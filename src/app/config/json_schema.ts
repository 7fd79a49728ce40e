/**
 * A table as JSON Schema, draft 2020-12, for editors and for `--schema`.
 *
 * @module
 */
import {
  aboutOf,
  defaultOf,
  isRequired,
  isScalar,
  type ObjectSchema,
  type Schema,
} from "./schema.ts";

/** The schema of a whole file. A file may name it as `$schema`, so that editors find it. */
export function jsonSchema(root: ObjectSchema, title: string): Record<string, unknown> {
  const { properties, ...rest } = schemaOf(root);
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title,
    ...rest,
    properties: {
      $schema: { type: "string", description: "Where the JSON Schema of this file is." },
      ...properties as object,
    },
  };
}

function schemaOf(schema: Schema): Record<string, unknown> {
  const fallback = defaultOf(schema);
  return {
    description: description(schema),
    ...rulesOf(schema),
    ...(fallback === undefined ? {} : { default: fallback }),
  };
}

function description(schema: Schema): string {
  const derived = schema.kind === "text" ? schema.derived : undefined;
  return derived === undefined ? aboutOf(schema) : `${aboutOf(schema)} Default: ${derived}.`;
}

function rulesOf(schema: Schema): Record<string, unknown> {
  switch (schema.kind) {
    case "text":
      return {
        type: "string",
        ...(schema.choices && { enum: schema.choices }),
        ...(schema.form && { pattern: schema.form.pattern }),
      };
    case "integer":
      return { type: "integer", minimum: schema.min, maximum: schema.max };
    case "boolean":
      return { type: "boolean" };
    case "array":
      return {
        type: "array",
        items: schemaOf(schema.of),
        minItems: schema.min,
        maxItems: schema.max,
        uniqueItems: isScalar(schema.of),
      };
    case "map":
      return {
        type: "object",
        propertyNames: { pattern: schema.names.pattern },
        additionalProperties: schemaOf(schema.of),
        maxProperties: schema.max,
      };
    case "object":
      return objectRules(schema);
    case "tagged":
      return {
        type: "object",
        required: ["type"],
        oneOf: Object.entries(schema.variants).map(([type, variant]) => ({
          description: variant.about,
          ...objectRules(variant, type),
        })),
      };
    case "or":
      return { anyOf: [{ const: schema.literal }, schemaOf(schema.of)] };
  }
}

function objectRules({ keys }: ObjectSchema, type?: string): Record<string, unknown> {
  const required = Object.entries(keys).filter(([, schema]) => isRequired(schema));
  const properties = Object.entries(keys).map(([key, schema]) => [key, schemaOf(schema)]);
  return {
    type: "object",
    properties: {
      ...(type === undefined ? {} : { type: { const: type } }),
      ...Object.fromEntries(properties),
    },
    required: [...(type === undefined ? [] : ["type"]), ...required.map(([key]) => key)],
    additionalProperties: false,
  };
}
