/**
 * Fairlead as a library: ordered, lossless messages between entities over Ceph's msgr2 protocol.
 *
 * @module
 */
export { Endpoint, type EndpointOptions, type IoRoad } from "./src/app/endpoint.ts";
export { POLICIES, type Policy } from "./src/proto/msgr2/policy.ts";
