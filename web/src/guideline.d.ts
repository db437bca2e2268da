declare module "virtual:guideline" {
  export const html: string;
  export const version: string;
}
