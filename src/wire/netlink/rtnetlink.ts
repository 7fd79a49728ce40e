/**
 * What all of rtnetlink(7) has in common: kinds of messages and groups, the kernel's rtnetlink.h.
 *
 * @module
 */

/** `nlmsg_type`. */
export const RtmType = {
  /** RTM_NEWLINK, and the next ones by their names. */
  NewLink: 16,
  DelLink: 17,
  GetLink: 18,
  NewAddress: 20,
  DelAddress: 21,
  GetAddress: 22,
  NewRoute: 24,
  DelRoute: 25,
  GetRoute: 26,
  NewRule: 32,
  DelRule: 33,
  GetRule: 34,
  NewQdisc: 36,
  DelQdisc: 37,
  GetQdisc: 38,
} as const;

/** RTNLGRP_*: what NETLINK_ADD_MEMBERSHIP takes. */
export const RtnlGroup = {
  /** RTNLGRP_LINK. */
  Link: 1,
  /** RTNLGRP_IPV4_IFADDR. */
  Inet4Address: 5,
  /** RTNLGRP_IPV6_IFADDR. */
  Inet6Address: 9,
} as const;
